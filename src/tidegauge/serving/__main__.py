"""``python -m tidegauge.serving``: what the supervisor starts; quick to import."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from tidegauge.errors import TidegaugeError
from tidegauge.serving.options import TOKEN_VARIABLE, ServeOptions, log_token_from_environment


def parse(arguments: Sequence[str] | None = None) -> ServeOptions:
    """Return the options of a command line; the log's token comes from the environment."""
    parser = argparse.ArgumentParser(
        prog="python -m tidegauge.serving", description=f"Serve a model. {TOKEN_VARIABLE} is the log's token."
    )
    parser.add_argument("--model-dir", type=Path, required=True, help="folder with model.onnx")
    parser.add_argument("--name", help="default: as in model.json, or the folder's name")
    parser.add_argument("--version", help="default: as in model.json, or 1")
    parser.add_argument("--host", default=ServeOptions.host)
    parser.add_argument("--port", type=int, default=ServeOptions.port)
    parser.add_argument("--deployment-id", default=ServeOptions.deployment_id)
    parser.add_argument("--namespace", default=ServeOptions.namespace)
    parser.add_argument("--log-url", help="the collector's address for this deployment's events")
    parser.add_argument("--threads", type=int, default=ServeOptions.threads, help="for one request")
    parser.add_argument("--max-body-bytes", type=int, default=ServeOptions.max_body_bytes)
    parser.add_argument("--parent-pid", type=int, help="end when this process ends")
    parser.add_argument("--sampling", type=float, default=ServeOptions.sampling, help="share that is logged")
    return ServeOptions(**vars(parser.parse_args(arguments)), log_token=log_token_from_environment())


def main() -> int:
    """Serve until told to end; return the exit code."""
    options = parse()
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    from tidegauge.serving.server import serve

    try:
        serve(options)
    except TidegaugeError as error:
        print(error.message, file=sys.stderr)  # noqa: T201 - the supervisor shows the last line
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
