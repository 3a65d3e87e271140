"""Deployments of servers that are not ours, brought in by command."""

from __future__ import annotations

import json

from cli_runs import Run
from parts_servers import TENSORFLOW, TRITON, model_server


def test_a_deployment_is_brought_in_and_looked_at(run: Run) -> None:
    with model_server(TENSORFLOW) as server:
        url = f"{server.url}/v1/models/mnist:predict"
        done = run("deployment", "import", "--url", url, "--json")
        assert done.code == 0, done.err
        made = json.loads(done.out)
        assert (made["name"], made["origin"], made["predict_url"]) == ("mnist", "external", url)
        assert made["served"]["inputs"] == [{"name": "images", "datatype": "FLOAT", "shape": [-1, 784]}]
        done = run("deployment", "look", "mnist")
        assert "'mnist' is ready on TensorFlow Serving." in done.err
    done = run("deployment", "look", "mnist", "--json")
    assert (done.code, json.loads(done.out)["state"]) == (0, "unreachable")
    assert "Its predict URL cannot be reached" in run("deployment", "look", "mnist").err


def test_what_cannot_be_brought_in_is_told(run: Run) -> None:
    done = run("deployment", "import")
    assert (done.code, done.err.strip()) == (
        2,
        "cluster is missing; give --cluster with the name there, or the --url of a model server.",
    )
    for given, sentence in (
        (["x", "--cluster", "a", "--url", "http://b"], "url is given beside cluster; give one of them."),
        (["--cluster", "a"], "name is missing; give that of the deployment on the serving cluster."),
        (["x", "--cluster", "a", "--model", "m"], "model is 'm', which is for --url; leave it out."),
        (
            ["--url", "http://b", "--namespace", "n"],
            "namespace is 'n', which is for --cluster; leave it out.",
        ),
    ):
        done = run("deployment", "import", *given)
        assert (done.code, done.err.strip()) == (2, sentence)
    with model_server(TRITON) as server:
        done = run("deployment", "import", "--url", server.url)
        assert done.code == 2
        assert "model is missing; the server at url has 'chest', 'hand': name one of them." in done.err
        assert run("deployment", "import", "--url", server.url, "--model", "chest").code == 0
        done = run("deployment", "import", "--url", server.url, "--model", "chest")
        assert (done.code, "There is a deployment 'chest' already" in done.err) == (5, True)
    done = run("deployment", "import", "--url", "http://127.0.0.1:9", "--model", "x")
    assert (done.code, "url cannot be reached" in done.err) == (6, True)
