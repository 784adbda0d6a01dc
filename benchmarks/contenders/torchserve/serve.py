"""TorchServe, as its documentation runs it on CPUs.

    python benchmarks/contenders/torchserve/serve.py STORE --port 8000

It takes a photo's bytes at /predictions/hotdog, and the three ports after its own for metrics and gRPC.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
NAME = "hotdog"


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("--port", type=int, default=8000)
    arguments = parser.parse_args()
    torchserve = Path(sys.executable).with_name("torchserve")
    address = f"http://127.0.0.1:{arguments.port}"
    options = [f"--model-store={arguments.store}", f"--ts-config={HERE / 'config.properties'}", "--no-config-snapshots"]
    models = ["--models", f"{NAME}={NAME}.mar"]
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {
            "TS_INFERENCE_ADDRESS": address,
            "TS_MANAGEMENT_ADDRESS": address,
            "TS_METRICS_ADDRESS": f"http://127.0.0.1:{arguments.port + 1}",
            "TS_GRPC_INFERENCE_PORT": str(arguments.port + 2),
            "TS_GRPC_MANAGEMENT_PORT": str(arguments.port + 3),
            # The launcher that pins its workers to cores is tried by the bare name of `python`.
            "PATH": f"{torchserve.parent}{os.pathsep}{os.environ['PATH']}",
            "LOG_LOCATION": folder,
            "METRICS_LOCATION": folder,
            # It keeps its process id there, by which it would stop any other of this machine's.
            "TMPDIR": folder,
            "TEMP": folder,
        }
        # On an interrupt, Python leaves what it waits for; TorchServe itself would leave its Java process behind.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            start = [torchserve, "--start", "--foreground", "--disable-token-auth", *options, *models]
            subprocess.run(start, env=environment, check=True)
        except KeyboardInterrupt:
            pass
        finally:
            subprocess.run([torchserve, "--stop", "--foreground"], env=environment, check=True)


if __name__ == "__main__":
    main()
