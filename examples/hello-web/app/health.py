"""Says by its exit status whether the server on this host answers: `python3 -m app.health`."""

import os
import sys
import urllib.request

host = os.environ.get("HOST", "0.0.0.0")
url = f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{os.environ.get('PORT', '8000')}/healthz"
try:
    with urllib.request.urlopen(url, timeout=1.5) as answer:
        sys.exit(answer.status != 200)
except OSError as error:
    sys.exit(f"{url}: {error}")
