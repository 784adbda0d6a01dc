"""TorchServe as its documentation runs it on CPUs: a worker a core, pinned to it, batches of the photos that wait.

It needs a Java of 17, answers at /predictions/hotdog, and takes the three ports after its own for metrics and gRPC.
"""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.contenders.preprocess import CPUS, WEIGHTS

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent
NAME = "hotdog"
# Eight clients leave four for each of two workers, so that larger batches would wait for nobody.
SETTINGS = {"minWorkers": CPUS, "maxWorkers": CPUS, "batchSize": 4, "maxBatchDelay": 5}


def main() -> None:
    """Serve until told to stop."""
    port = int(sys.argv[1])
    address = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as folder:
        _archive(Path(folder))
        environment = os.environ | {
            "TS_INFERENCE_ADDRESS": address,
            "TS_MANAGEMENT_ADDRESS": address,
            "TS_METRICS_ADDRESS": f"http://127.0.0.1:{port + 1}",
            "TS_GRPC_INFERENCE_PORT": str(port + 2),
            "TS_GRPC_MANAGEMENT_PORT": str(port + 3),
            # The launcher that pins its workers to cores is tried by the bare name of `python`.
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "LOG_LOCATION": folder,
            "METRICS_LOCATION": folder,
            # It keeps its process id there, by which it would stop any other of this machine's.
            "TMPDIR": folder,
            "TEMP": folder,
        }
        options = [f"--model-store={folder}", f"--ts-config={HERE / 'config.properties'}", "--no-config-snapshots"]
        start = [str(BIN / "torchserve"), "--start", "--foreground", "--disable-token-auth", *options]
        # On an interrupt, Python leaves what it waits for; TorchServe itself would leave its Java process behind.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            subprocess.run([*start, "--models", f"{NAME}={NAME}.mar"], env=environment, check=True)
        except KeyboardInterrupt:
            pass
        finally:
            subprocess.run([BIN / "torchserve", "--stop", "--foreground"], env=environment, check=True)


def _archive(folder: Path) -> None:
    settings = folder / "settings.yaml"
    settings.write_text("".join(f"{name}: {value}\n" for name, value in SETTINGS.items()))
    options = {
        "model-name": NAME,
        "version": "1",
        "model-file": HERE / "network.py",
        "serialized-file": WEIGHTS / "resnet18.pt",
        "handler": HERE / "handler.py",
        "config-file": settings,
        "export-path": folder,
    }
    subprocess.run(
        [BIN / "torch-model-archiver", *(f"--{name}={value}" for name, value in options.items())], check=True
    )


if __name__ == "__main__":
    main()
