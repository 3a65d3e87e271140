"""KServe's Python server with one ONNX model: runs in the environment that benchmarks/serving.py makes.

python benchmarks/_kserve.py MODEL_FILE PORT

Set to be fast: one uvicorn worker with uvloop and httptools, no gRPC, no log line per request, and
onnxruntime with the options of Tidegauge's server.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Any

import numpy as np
import onnxruntime as ort
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer


class Served(Model):
    """The same onnxruntime session behind KServe's own decoding and encoding."""

    def __init__(self, name: str, path: str) -> None:
        super().__init__(name)
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.ready = True

    async def predict(self, payload: Any, headers: Any = None, response_headers: Any = None) -> Any:  # noqa: ARG002
        if isinstance(payload, InferRequest):
            scores = self._run(payload.inputs[0].as_numpy())
            output = InferOutput("output", list(scores.shape), "FP32")
            output.set_data_from_numpy(scores, binary_data=bool(payload.request_outputs))
            return InferResponse(payload.id, self.name, [output], requested_outputs=payload.request_outputs)
        return {"predictions": self._run(np.asarray(payload["instances"], np.float32)).tolist()}

    def _run(self, images: np.ndarray) -> np.ndarray:
        return np.asarray(self._session.run(["output"], {"input_1": images})[0])


if __name__ == "__main__":
    path, port = sys.argv[1:3]
    logging.disable(logging.WARNING)
    asyncio.set_event_loop(asyncio.new_event_loop())
    server = ModelServer(
        http_port=int(port), workers=1, enable_grpc=False, enable_latency_logging=False, event_loop="uvloop"
    )
    server.start([Served("bench", path)])
