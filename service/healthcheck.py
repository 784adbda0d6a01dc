"""Docker's HEALTHCHECK: `python -m service.healthcheck` tells whether the service in this container is ready."""

import os
import sys
from http.client import HTTPConnection, HTTPException


def main() -> None:
    """Request /readyz on this machine; exit with status 1 and one sentence unless it returns 200 in three seconds."""
    port = os.environ.get("SEEFOOD_PORT", "8000")
    try:
        connection = HTTPConnection("127.0.0.1", int(port), timeout=3)
        connection.request("GET", "/readyz")
        status: int | str = connection.getresponse().status
    except (OSError, HTTPException, ValueError) as error:
        status = str(error)
    if status != 200:
        sys.exit(f"seefood: not ready on port {port}: {status}")


if __name__ == "__main__":
    main()
