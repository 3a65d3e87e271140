"""The services of one server, built once by ``app`` and handed to every door."""

from __future__ import annotations

from dataclasses import dataclass

from tidegauge.services.acceptance import Acceptance
from tidegauge.services.accounts import Accounts
from tidegauge.services.advice import Advice
from tidegauge.services.auditing import Auditing
from tidegauge.services.baselines import Baselines
from tidegauge.services.captures import Captures
from tidegauge.services.catalogue import Catalogue
from tidegauge.services.channels import Channels
from tidegauge.services.cluster import Cluster
from tidegauge.services.collector import Collector
from tidegauge.services.deployments import Deployments
from tidegauge.services.example import Examples
from tidegauge.services.explaining import Explaining
from tidegauge.services.gates import Gates
from tidegauge.services.health import Health
from tidegauge.services.history import History
from tidegauge.services.ides import Ides
from tidegauge.services.kserve import KServe
from tidegauge.services.linking.clusters import Clusters
from tidegauge.services.linking.exporting import Exporting
from tidegauge.services.linking.following import Following
from tidegauge.services.linking.importing import Importing
from tidegauge.services.monitors import Monitors
from tidegauge.services.notifications import Notifications
from tidegauge.services.observing import Observing
from tidegauge.services.people import People
from tidegauge.services.pipelines import Pipelines
from tidegauge.services.playground import Playground
from tidegauge.services.privacy.erasing import Erasures
from tidegauge.services.reports import Reports
from tidegauge.services.retraining import Retrainings
from tidegauge.services.runs import Runs
from tidegauge.services.schedule import Schedule
from tidegauge.services.senders import Senders
from tidegauge.services.servers import Servers
from tidegauge.services.showing import Showing
from tidegauge.services.sign_ins import SignIns
from tidegauge.services.single_sign_on import SingleSignOn
from tidegauge.services.supervisor import Supervisor
from tidegauge.services.traffic import Traffic
from tidegauge.services.upkeep.keeper import Keeper
from tidegauge.services.upkeep.retention import Retention
from tidegauge.services.worker import Worker
from tidegauge.settings import Settings
from tidegauge.storage.database import Database
from tidegauge.storage.objects import ObjectStore


@dataclass(frozen=True)
class Services:
    settings: Settings
    database: Database
    store: ObjectStore
    worker: Worker
    people: People
    gates: Gates
    sign_ins: SignIns
    accounts: Accounts
    auditing: Auditing
    single_sign_on: SingleSignOn | None
    health: Health
    captures: Captures
    catalogue: Catalogue
    cluster: Cluster
    collector: Collector
    senders: Senders
    supervisor: Supervisor
    traffic: Traffic
    deployments: Deployments
    servers: Servers
    kserve: KServe
    pipelines: Pipelines
    ides: Ides
    baselines: Baselines
    monitors: Monitors
    runs: Runs
    showing: Showing
    explaining: Explaining
    examples: Examples
    playground: Playground
    retrainings: Retrainings
    erasures: Erasures
    reports: Reports
    acceptance: Acceptance
    advice: Advice
    channels: Channels
    notifications: Notifications
    observing: Observing
    history: History
    schedule: Schedule
    retention: Retention
    keeper: Keeper
    clusters: Clusters
    exporting: Exporting
    importing: Importing
    following: Following
