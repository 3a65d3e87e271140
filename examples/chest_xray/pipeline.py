"""The chest X-ray pipeline: preprocess -> train -> deploy, as a Kubeflow pipeline.

python pipeline.py run --root DIR [--dataset-version 2 ...]     here, step by step, through kfp.local
python pipeline.py compile -o pipeline.yaml                     for a Kubeflow cluster, from the same source

`tidegauge pipeline run --backend kubeflow --host URL` compiles it on the server and sends it.

The steps talk to Tidegauge only through its SDK (TIDEGAUGE_URL and TIDEGAUGE_TOKEN), and the training code is
the Code version that the run names, downloaded by the step: what is recorded is what ran.
"""

# No `from __future__ import annotations`: kfp reads the annotations of the steps as classes.

import argparse
import contextlib
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from kfp import compiler, dsl, local
from kfp.dsl import Dataset, Input, Metrics, Model, Output

from tidegauge import __version__
from tidegauge.steps import MARK

BASE_IMAGE = "python:3.11-slim-bookworm"
# What was tested together; a test holds them against requirements.lock.
STEP_PACKAGES = [f"tidegauge=={__version__}", "httpx==0.28.1", "numpy==2.4.6", "pydantic==2.14.3"]
TRAIN_PACKAGES = [
    f"tidegauge[train]=={__version__}",
    "tensorflow-cpu==2.21.0",
    "onnx==1.23.2",
    "tf2onnx==1.17.0",
]
SECRET_KEYS = ("TIDEGAUGE_URL", "TIDEGAUGE_TOKEN")


# A step's source is all that reaches its container: each one imports what it uses.


def preprocess(
    code: str, code_version: int, dataset: str, dataset_version: int, images: Output[Dataset]
) -> None:
    """Bring the images of a dataset version to the model's shape."""
    import sys
    import tempfile
    from pathlib import Path

    from tidegauge.client import Client
    from tidegauge.steps import step

    with step("preprocess"), tempfile.TemporaryDirectory() as scratch:
        client = Client()
        client.code.download(code, code_version, Path(scratch, "code"))
        client.datasets.download(dataset, dataset_version, Path(scratch, "images"))
        sys.path.insert(0, str(Path(scratch, "code")))
        import training

        prepared = training.prepare(Path(scratch, "images"))
        for problem in prepared.problems:
            print(problem, flush=True)
        target = Path(images.path)
        target.mkdir(parents=True, exist_ok=True)
        training.save_prepared(prepared, target / "prepared.npz")
        images.metadata.update(dataset=dataset, version=dataset_version, images=len(prepared.files))


def train(
    code: str,
    code_version: int,
    dataset: str,
    dataset_version: int,
    model: str,
    epochs: int,
    seed: int,
    images: Input[Dataset],
    trained: Output[Model],
    metrics: Output[Metrics],
) -> int:
    """Train, and add the result to the Model as a new version; returns its number."""
    import sys
    import tempfile
    from pathlib import Path

    from tidegauge.client import Client
    from tidegauge.steps import step

    with step("train"), tempfile.TemporaryDirectory() as scratch:
        client = Client()
        client.code.download(code, code_version, Path(scratch))
        sys.path.insert(0, scratch)
        import training

        prepared = training.load_prepared(Path(images.path, "prepared.npz"))
        folder = Path(trained.path)
        measured = training.train(
            prepared,
            folder,
            name=model,
            epochs=epochs,
            seed=seed,
            log=lambda line: print(line, flush=True),
        )
        for name in ("accuracy", "roc_auc", "precision", "recall", "f1"):
            if measured[name] is not None:
                metrics.log_metric(name, measured[name])
        meta = {
            "dataset": {"name": dataset, "version": dataset_version},
            "code": {"name": code, "version": code_version},
            "parameters": {"epochs": measured["epochs"], "seed": seed},
        }
        version = client.models.add_version(model, folder, meta=meta)
        trained.metadata.update(model=model, version=version.number, classes=prepared.classes)
        return version.number


def deploy(model: str, model_version: int, deployment: str) -> str:
    """Serve the model version with its inference log on; returns the id of the deployment.

    Without the name of a deployment nothing is served: a retraining compares the model first.
    """
    from tidegauge.client import Client
    from tidegauge.errors import NotFoundError
    from tidegauge.steps import step

    if not deployment:
        return ""
    with step("deploy"):
        client = Client()
        try:
            found = client.deployments.get(deployment)
        except NotFoundError:
            served = client.deployments.create(deployment, model, model_version, logging=True)
        else:
            served = client.deployments.update(found.id, version=model_version)
        client.deployments.wait(served.id)
        return served.id


class Steps(NamedTuple):
    preprocess: Callable[..., Any]
    train: Callable[..., Any]
    deploy: Callable[..., Any]


def steps(*, install: bool, image: str = "") -> Steps:
    """Make the components; ``install`` adds what a bare container lacks, an ``image`` has it all."""

    def component(function: Callable[..., Any], packages: list[str]) -> Callable[..., Any]:
        bare = install and not image
        made: Callable[..., Any] = dsl.component(
            function,
            base_image=image or BASE_IMAGE,
            packages_to_install=packages if bare else None,
            install_kfp_package=bare,
        )
        return made

    return Steps(
        component(preprocess, STEP_PACKAGES),
        component(train, TRAIN_PACKAGES),
        component(deploy, STEP_PACKAGES),
    )


def build(*, install: bool, secret: str = "", image: str = "") -> Any:
    """Make the pipeline; ``secret`` names the Kubernetes secret that holds the SECRET_KEYS."""
    made = steps(install=install, image=image)

    @dsl.pipeline(  # type: ignore[untyped-decorator]
        name="chest-xray", description="Preprocess, train and deploy the chest X-ray example."
    )
    def chest_xray(
        code: str = "chest-xray",
        code_version: int = 1,
        dataset: str = "chest-xray",
        dataset_version: int = 1,
        model: str = "chest-xray",
        deployment: str = "chest-xray",
        epochs: int = 0,
        seed: int = 0,
    ) -> None:
        """Take images to a served model.

        Args:
            code: Code whose version holds the training code.
            code_version: Version of it.
            dataset: Dataset of images in labelled folders.
            dataset_version: Version of it.
            model: Model that gets the new version.
            deployment: Deployment that is created, or moved to the new version; empty: none.
            epochs: Epochs of training; 0 chooses by the number of images.
            seed: Seed of the split, the first weights and the augmentation.
        """
        prepared = made.preprocess(
            code=code, code_version=code_version, dataset=dataset, dataset_version=dataset_version
        )
        trained = made.train(
            code=code,
            code_version=code_version,
            dataset=dataset,
            dataset_version=dataset_version,
            model=model,
            epochs=epochs,
            seed=seed,
            images=prepared.outputs["images"],
        )
        deployed = made.deploy(model=model, model_version=trained.outputs["Output"], deployment=deployment)
        for task in (prepared, trained, deployed):
            # A step has effects on the server: a cached answer would skip them.
            task.set_caching_options(enable_caching=False)
            if secret:
                keys = [{"secretKey": key, "envVar": key} for key in SECRET_KEYS]
                task.platform_config["kubernetes"] = {
                    "secretAsEnv": [
                        {
                            "secretName": secret,  # for backends before 2.5
                            "secretNameParameter": {"runtimeValue": {"constant": secret}},
                            "keyToEnv": keys,
                        }
                    ]
                }

    return chest_xray


class _Output(io.TextIOBase):
    """Standard output, line by line, that remembers which step failed."""

    def __init__(self, target: Any) -> None:
        self._target = target
        self._line = ""
        self.failure = ""

    def write(self, text: str) -> int:
        self._target.write(text)
        self._target.flush()
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            _, marked, record = line.partition(MARK)
            if marked and json.loads(record)["state"] == "failed":
                told = json.loads(record)
                self.failure = f"The step {told['name']!r} failed: {told['message']}"
        return len(text)

    def flush(self) -> None:
        self._target.flush()


def run(root: Path, arguments: dict[str, Any]) -> int:
    """Run the pipeline on this machine; artifacts go below ``root``. Returns the exit code."""
    output = _Output(sys.stdout)
    with contextlib.redirect_stdout(output):
        local.init(
            local.SubprocessRunner(use_venv=False),
            pipeline_root=str(root / "artifacts"),
            workspace_root=str(root / "workspace"),
        )
        try:
            build(install=False)(**arguments)
        except RuntimeError as error:
            print(output.failure or str(error))
            return 1
    return 0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    here = commands.add_parser("run", help="run on this machine through kfp.local")
    here.add_argument("--root", type=Path, default=Path("pipeline-root"), help="folder for the artifacts")
    here.add_argument("--code", default="chest-xray")
    here.add_argument("--code-version", type=int, default=1)
    here.add_argument("--dataset", default="chest-xray")
    here.add_argument("--dataset-version", type=int, default=1)
    here.add_argument("--model", default="chest-xray")
    here.add_argument("--deployment", default="chest-xray")
    here.add_argument("--epochs", type=int, default=0, help="0: chosen by the number of images")
    here.add_argument("--seed", type=int, default=0)
    there = commands.add_parser("compile", help="write the pipeline as YAML for a cluster")
    there.add_argument("-o", "--output", type=Path, default=Path("pipeline.yaml"))
    there.add_argument(
        "--secret", default="tidegauge", help="Kubernetes secret with TIDEGAUGE_URL and _TOKEN"
    )
    there.add_argument("--image", default="", help="container image that has tidegauge, kfp and TensorFlow")
    options = vars(parser.parse_args(arguments))
    if options.pop("command") == "run":
        return run(options.pop("root"), options)
    made = build(install=True, secret=options["secret"], image=options["image"])
    compiler.Compiler().compile(made, str(options["output"]))
    print(f"wrote {options['output']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
