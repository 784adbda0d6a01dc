"""FastAPI under uvicorn with ONNX Runtime: one process and one inference thread a CPU, the work off the event loop."""

from typing import Annotated

from fastapi import FastAPI, File, UploadFile

from benchmarks.contenders.preprocess import decoded, onnx_session

app = FastAPI()
session = onnx_session(threads=1)


@app.post("/predict")
def predict(file: Annotated[UploadFile, File()]) -> dict[str, float]:
    """Answer one photo; FastAPI runs what is no coroutine in its pool of threads."""
    images = decoded(file.file.read())[None]
    return {"probability": float(session.run(None, {"images": images})[0][0])}
