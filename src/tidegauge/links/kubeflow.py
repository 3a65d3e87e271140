"""Kubeflow pipelines: how a pipeline file is run on this machine or a cluster, and what is said of it."""

from __future__ import annotations

import contextlib
import copy
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import orjson
import yaml
from pydantic import TypeAdapter

from tidegauge.domain.pipeline import PipelineRun, PipelineState, PipelineStep
from tidegauge.errors import (
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    TidegaugeError,
    UnavailableError,
)
from tidegauge.links import calling
from tidegauge.links.addresses import Gate, RefusedAddressError
from tidegauge.steps import MARK

_STEPS = TypeAdapter(tuple[PipelineStep, ...])
_TIMEOUT_SECONDS = 20.0
_EXPERIMENT = "tidegauge"
_MOST = 200  # experiments of a namespace that are looked at
#: What a run tells its pipeline, where that takes it.
_SAID = ("code", "code_version", "dataset", "dataset_version", "model", "deployment")
_RUN_STATES = {
    "SUCCEEDED": PipelineState.SUCCEEDED,
    "SKIPPED": PipelineState.SUCCEEDED,
    "FAILED": PipelineState.FAILED,
    "CANCELED": PipelineState.CANCELLED,
}
#: Of a task that has begun; one that waits is none yet.
_STEP_STATES = {
    "RUNNING": "running",
    "SUCCEEDED": "succeeded",
    "SKIPPED": "skipped",
    "FAILED": "failed",
    "CANCELING": "cancelled",
    "CANCELED": "cancelled",
}


def local_command(run: PipelineRun, code: Path, root: Path) -> list[str]:
    """Return the command that runs the pipeline file of ``code`` through kfp's local runner."""
    command = [sys.executable, "-u", str(code / run.file), "run", "--root", str(root)]
    command += ["--code", run.code, "--code-version", str(run.code_version)]
    command += ["--dataset", run.dataset, "--dataset-version", str(run.dataset_version)]
    command += ["--model", run.model, "--deployment", run.deployment]
    for name, value in run.parameters.items():
        command += [f"--{name.replace('_', '-')}", str(value)]
    return command


def read_steps(lines: Iterable[str]) -> tuple[PipelineStep, ...]:
    """Read the steps from the marked lines of a run's output; other lines are passed over."""
    steps: dict[str, dict[str, Any]] = {}
    for line in lines:
        _, found, text = line.partition(MARK)
        if not found:
            continue
        try:
            record = orjson.loads(text)
            name, state, time = record["name"], record["state"], record["time"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            continue  # a user's own print that looks like ours
        step = steps.setdefault(name, {"name": name, "started_at": None, "ended_at": None})
        step["state"] = state
        step["started_at" if state == "running" else "ended_at"] = time
    return _STEPS.validate_python(tuple(steps.values()))


def compile_command(run: PipelineRun, code: Path, output: Path, image: str) -> list[str]:
    """Return the command that compiles the pipeline file of ``code`` for a cluster."""
    command = [sys.executable, "-u", str(code / run.file), "compile", "-o", str(output)]
    command += ["--secret", run.secret_name]
    return [*command, "--image", image] if image else command


@dataclass(frozen=True)
class Compiled:
    """A compiled pipeline: kfp's PipelineSpec, and what of it is for one platform."""

    spec: Mapping[str, Any]
    platform: Mapping[str, Any]

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the steps."""
        return tuple(self.spec["root"]["dag"]["tasks"])

    def told(self, environment: Mapping[str, str]) -> Compiled:
        """Return the same with variables in the environment of each step."""
        spec = copy.deepcopy(dict(self.spec))
        for executor in spec["deploymentSpec"]["executors"].values():
            container = executor.get("container")
            if container is not None:
                variables = [{"name": name, "value": value} for name, value in environment.items()]
                container["env"] = [*container.get("env", ()), *variables]
        return Compiled(spec, self.platform)

    def parameters(self, run: PipelineRun) -> dict[str, Any]:
        """Return what the pipeline is called with; InvalidInputError for a parameter that it has not."""
        known = self.spec["root"].get("inputDefinitions", {}).get("parameters", {})
        if missing := sorted(set(run.parameters) - set(known)):
            raise InvalidInputError.of(
                "parameters",
                f"parameters has {missing[0]!r}, which the pipeline does not take; it takes "
                f"{', '.join(sorted(known)) or 'none'}.",
            )
        said = {name: getattr(run, name) for name in _SAID if name in known}
        return {
            name: _typed(name, value, str(known[name].get("parameterType", "")))
            for name, value in {**said, **run.parameters}.items()
        }


def read_compiled(text: str) -> Compiled:
    """Read what a pipeline file has compiled; InvalidInputError where it is no pipeline."""
    try:
        spec, *more = yaml.safe_load_all(text)
        found = Compiled(spec, {name: value for one in more for name, value in one.items()})
        _ = found.tasks, spec["deploymentSpec"]["executors"]
    except (yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidInputError.of(
            "file", "file compiled to what is no Kubeflow pipeline (PipelineSpec); look at the run's log."
        ) from error
    return found


@dataclass(frozen=True)
class RemoteRun:
    """A run as Kubeflow tells of it."""

    state: PipelineState
    message: str
    steps: tuple[PipelineStep, ...]


class Kubeflow:
    """Kubeflow Pipelines by its API (v2beta1), with kfp's own client over connections that a gate checks.

    Raises UnavailableError where it does not answer, ForbiddenError where it does not take the token,
    NotFoundError for a run that is gone, InvalidInputError for what it refuses.
    """

    def __init__(self, host: str, token: str, gate: Gate) -> None:
        try:
            import kfp_server_api as api
        except ModuleNotFoundError as error:
            raise InvalidInputError.of(
                "backend", "Kubeflow's client is missing on the server; pip install 'tidegauge[kubeflow]'."
            ) from error
        self._api = api
        self._host = host
        self._http = calling.client(gate, timeout=_TIMEOUT_SECONDS)
        self._client = api.ApiClient(api.Configuration(host=host))
        self._client.rest_client = _Gated(self._http)
        if token:
            self._client.set_default_header("Authorization", f"Bearer {token}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def submit(self, run: PipelineRun, compiled: Compiled) -> str:
        """Start a compiled pipeline; return the id that its run has there."""
        api = self._api
        spec: Any = compiled.spec
        if compiled.platform:
            spec = {"pipeline_spec": compiled.spec, "platform_spec": compiled.platform}
        body = api.V2beta1Run(
            display_name=f"tidegauge {run.id}",
            description=f"{run.file} of {run.code} v{run.code_version}",
            pipeline_spec=spec,
            runtime_config=api.V2beta1RuntimeConfig(parameters=compiled.parameters(run)),
            experiment_id=self._experiment(run.namespace) if run.namespace else None,
        )
        with self._worded():
            return str(api.RunServiceApi(self._client).run_service_create_run(run=body).run_id)

    def look(self, run_id: str, known: Collection[str] = ()) -> RemoteRun:
        """Return how a run is; of tasks that have begun the ``known`` ones, else all but Kubeflow's own."""
        with self._worded():
            found = self._api.RunServiceApi(self._client).run_service_get_run(run_id)
        tasks = (found.run_details.task_details or ()) if found.run_details else ()
        steps = {}
        for task in sorted(tasks, key=lambda one: str(one.start_time or one.create_time or "")):
            name = str(task.display_name or "")
            state = _STEP_STATES.get(str(task.state), "")
            is_step = name in known if known else not (name == "root" or name.endswith("-driver"))
            if is_step and state and name:
                steps[name] = PipelineStep(name, state, task.start_time, _ended(task.end_time))
        said = found.error.message if found.error else ""
        failed = next((t.error.message for t in tasks if t.error and t.error.message), "")
        state = _RUN_STATES.get(str(found.state), PipelineState.RUNNING)
        message = " ".join(str(failed or said or "").split())[:500] if state is PipelineState.FAILED else ""
        return RemoteRun(state, message, tuple(steps.values()))

    def terminate(self, run_id: str) -> None:
        with self._worded():
            self._api.RunServiceApi(self._client).run_service_terminate_run(run_id)

    def _experiment(self, namespace: str) -> str:
        """Return the id of our experiment in a namespace of a Kubeflow with several users."""
        service = self._api.ExperimentServiceApi(self._client)
        with self._worded():
            listed = service.experiment_service_list_experiments(namespace=namespace, page_size=_MOST)
            for one in listed.experiments or ():
                if one.display_name == _EXPERIMENT:
                    return str(one.experiment_id)
            made = self._api.V2beta1Experiment(display_name=_EXPERIMENT, namespace=namespace)
            return str(service.experiment_service_create_experiment(experiment=made).experiment_id)

    @contextlib.contextmanager
    def _worded(self) -> Iterator[None]:
        try:
            yield
        except self._api.ApiException as error:
            raise self._word(error) from error
        except RefusedAddressError:
            raise
        except (httpx.HTTPError, ValueError) as error:
            # ValueError: of kfp's client, for an answer that is none of Kubeflow's.
            reason = str(error) or type(error).__name__
            raise UnavailableError(f"Kubeflow at {self._host} does not answer: {reason}.") from error

    def _word(self, error: Any) -> TidegaugeError:
        try:
            said = str(orjson.loads(error.body or b"")["message"])
        except (orjson.JSONDecodeError, KeyError, TypeError):
            said = str(error.reason or "no reason")
        said = " ".join(said.split())[:300].rstrip(".")
        if error.status in (401, 403) or 300 <= error.status < 400:  # or it leads to a sign-in
            return ForbiddenError(
                f"Kubeflow at {self._host} does not let us in ({said}); give a token for it."
            )
        if error.status == 404:
            return NotFoundError(f"Kubeflow at {self._host} has no such thing: {said}.")
        if error.status in (400, 409, 422):
            return InvalidInputError(f"Kubeflow at {self._host} refuses the pipeline: {said}.")
        return UnavailableError(f"Kubeflow at {self._host} answers {error.status}: {said}.")


class _Gated:
    """What kfp's client sends by, in place of its own connections, which go wherever a name leads."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    def GET(self, url: str, **options: Any) -> _Answer:  # noqa: N802 - as kfp calls it
        return self._send("GET", url, **options)

    def POST(self, url: str, **options: Any) -> _Answer:  # noqa: N802
        return self._send("POST", url, **options)

    def _send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        query_params: Any = None,
        body: Any = None,
        **_: Any,
    ) -> _Answer:
        import kfp_server_api as api

        content = orjson.dumps(body) if body is not None else None
        answer = _Answer(
            self._http.request(method, url, headers=headers, params=query_params or None, content=content)
        )
        if not 200 <= answer.status <= 299:
            raise api.ApiException(http_resp=answer)
        return answer


class _Answer:
    """An answer in the words of kfp's client."""

    def __init__(self, answer: httpx.Response) -> None:
        self.status = answer.status_code
        self.reason = answer.reason_phrase
        self.data: Any = answer.content
        self._headers = answer.headers

    def getheaders(self) -> Mapping[str, str]:
        return self._headers

    def getheader(self, name: str, default: str | None = None) -> str | None:
        return str(self._headers[name]) if name in self._headers else default


def _ended(time: datetime | None) -> datetime | None:
    """Return when a task ended; one that runs ends for Go in the year 1 or 1970."""
    return time if time is not None and time.year > 1970 else None


def _typed(name: str, value: Any, kind: str) -> Any:
    """Return a parameter as the pipeline declares it: forms and commands send text."""
    if not isinstance(value, str) or kind in ("STRING", ""):
        return str(value) if kind == "STRING" else value
    try:
        found = orjson.loads(value)
    except orjson.JSONDecodeError:
        found = value
    fits: Any = {"NUMBER_INTEGER": int, "NUMBER_DOUBLE": (int, float), "BOOLEAN": bool}.get(kind, object)
    if not isinstance(found, fits):
        raise InvalidInputError.of(
            "parameters", f"parameters has {name} = {value!r}, which the pipeline declares as {kind}."
        )
    return found
