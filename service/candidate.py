"""A candidate model in its own process, so that its interpreter lock and its crashes do not affect the service."""

import contextlib
import math
import multiprocessing
import os
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from service.decoder import exit_with_parent
from service.errors import SeeFoodError
from service.metadata import Metadata
from service.model import Verdict, open_model
from service.photo import Pixels

_NICENESS = 19  # the lowest priority


class Candidate:
    """An open candidate; one thread uses it at a time.

    Attributes:
        folder: the name of the version in the registry.
        metadata: the metadata in its file.
        size: side of its input square in pixels.
    """

    folder: str
    metadata: Metadata
    size: int

    def __init__(self, models: Path, version: str, device: str, precision: str) -> None:
        """Start the process, and open and warm up the model there; raises SeeFoodError."""
        self.folder = version
        context = multiprocessing.get_context("forkserver")
        self._pipe, theirs = context.Pipe()
        with theirs:
            # A daemon is ended when the service ends, even in the middle of an inference.
            self._process = context.Process(
                target=_serve, args=(theirs, models, version, device, precision), daemon=True
            )
            self._process.start()
        self.metadata, self.size = self._receive()

    def answer(self, pixels: Pixels) -> tuple[Verdict, float]:
        """Return the verdict on one square, uint8 [S, S, 3], and the seconds of the inference; raises SeeFoodError."""
        with contextlib.suppress(ConnectionError):  # the process has ended, which the next line finds
            self._pipe.send(pixels)
        verdict, seconds = self._receive()
        return verdict, seconds

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()
        self._pipe.close()

    def _receive(self) -> Any:
        try:
            result = self._pipe.recv()
        except (EOFError, ConnectionError) as error:
            raise SeeFoodError("its process ended") from error
        if isinstance(result, SeeFoodError):
            raise result
        return result


def _serve(pipe: Connection, models: Path, version: str, device: str, precision: str) -> None:
    exit_with_parent()
    os.nice(_NICENESS)
    try:
        model = open_model(models, version, device, precision)
        model.warm_up()
        pipe.send((model.metadata, model.size))
        while True:
            pixels = pipe.recv()
            started = time.perf_counter()
            ((probability, _, familiarity),) = model.run(pixels[None]).each()
            if not math.isfinite(probability):
                raise SeeFoodError("it answers a photo with a probability that is not finite")
            pipe.send((model.verdict(probability, familiarity), time.perf_counter() - started))
    except (EOFError, ConnectionError, KeyboardInterrupt):
        return  # the service has closed the pipe
    except SeeFoodError as error:
        pipe.send(error)
    except Exception as error:  # noqa: BLE001 - ONNX Runtime's errors have no other common base class
        pipe.send(SeeFoodError(f"{type(error).__name__}: {error}".splitlines()[0]))
