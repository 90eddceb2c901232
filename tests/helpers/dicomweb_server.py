"""A receiver of DICOMweb's STOW-RS of a few lines, on the loopback: it keeps what it is sent, or refuses it."""

from __future__ import annotations

import json
import re
import threading
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO

from pydicom import FileDataset, dcmread


@dataclass
class DicomWebServer:
    """One.

    Attributes:
        kept: by UID of the instance.
        status: of the next answers.
        boundary: what divided the last message.
        login: who sent it, as `user:password`.
    """

    url: str
    kept: dict[str, FileDataset] = field(default_factory=dict)
    status: int = 200
    boundary: str = ""
    login: str = ""


@contextmanager
def dicomweb_server() -> Iterator[DicomWebServer]:
    """One, while the block runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    made = DicomWebServer(f"http://127.0.0.1:{server.server_port}")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found = re.search(r'boundary="?([^";]+)', self.headers["Content-Type"])
            assert found
            made.boundary = found[1]
            made.login = b64decode(self.headers.get("Authorization", "").removeprefix("Basic ")).decode()
            if made.status == 200:
                for part in body.split(f"--{found[1]}".encode())[1:-1]:
                    image = dcmread(BytesIO(part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")))
                    made.kept[str(image.SOPInstanceUID)] = image
            said = json.dumps({"00081199": {"vr": "SQ"}}).encode()
            self.send_response(made.status)
            self.send_header("Content-Type", "application/dicom+json")
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server.RequestHandlerClass = Handler
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
