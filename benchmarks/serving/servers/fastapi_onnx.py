"""FastAPI under uvicorn with ONNX Runtime: one process and one inference thread per CPU."""

from typing import Annotated

from fastapi import FastAPI, File, UploadFile

from benchmarks.serving.servers.preprocess import decoded, onnx_session

app = FastAPI()
session = onnx_session(threads=1)


@app.post("/predict")
def predict(file: Annotated[UploadFile, File()]) -> dict[str, float]:
    """Classify one photo; FastAPI runs plain functions in its thread pool."""
    images = decoded(file.file.read())[None]
    return {"probability": float(session.run(None, {"images": images})[0][0])}
