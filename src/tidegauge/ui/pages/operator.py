"""This cluster, for its operator."""

from __future__ import annotations

from fastapi import Response

from tidegauge.ui.site import Pages, render
from tidegauge.web.access import Everything, Operator

router = Pages()


@router.get("/clusters")
def clusters(caller: Operator, services: Everything) -> Response:
    return render("operator/clusters.html", user=caller, facts=services.cluster.facts())
