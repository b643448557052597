"""A hub on this machine that speaks enough of the protocol for the real client to run against it.

Repositories are kept in memory: `Hub.repos["owner/name"]` holds files by commit. Large files go the
way of Git LFS. Whoever may write says `Bearer good-token`.
"""

import base64
import hashlib
import json
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "good-token"


@dataclass
class Repo:
    private: bool = False
    gated: bool = False
    card: dict | None = None
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """Files by commit, the oldest first."""
    messages: list[str] = field(default_factory=list)

    def commit(self, files: dict[str, bytes], message: str = "files") -> str:
        whole = {**(list(self.commits.values())[-1] if self.commits else {}), **files}
        oid = hashlib.sha1(repr((len(self.commits), sorted(whole))).encode()).hexdigest()
        self.commits[oid] = whole
        self.messages.append(message)
        return oid


@dataclass
class Hub:
    repos: dict[str, Repo] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    """Method and path of each, in order."""
    address: str = ""


@contextmanager
def serve():
    """Serve an empty hub on a free port."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_GET(self):
            answer(self, hub)

        do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def answer(request, hub):
    path = request.path.partition("?")[0]
    hub.requests.append(f"{request.command} {path}")
    request.content = _read(request)
    request.known = request.headers.get("Authorization") == f"Bearer {TOKEN}"
    for pattern, handle in ROUTES:
        if found := re.fullmatch(pattern, path):
            handle(request, hub, *found.groups())
            return
    send(request, 404, {"error": f"no such route: {path}"})


def _read(request) -> bytes:
    if request.headers.get("Transfer-Encoding") == "chunked":
        content = b""
        while size := int(request.rfile.readline(), 16):
            content += request.rfile.read(size)
            request.rfile.readline()
        request.rfile.readline()
        return content
    return request.rfile.read(int(request.headers.get("Content-Length", 0)))


def send(request, status, body=b"", **headers):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    request.send_response(status)
    if not isinstance(body, bytes):
        request.send_header("Content-Type", "application/json")
    for name, value in headers.items():
        request.send_header(name.replace("_", "-"), value)
    request.send_header("Content-Length", str(len(content)))
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(content)


def refuse(request, status, code):
    send(request, status, {"error": code}, X_Error_Code=code, X_Error_Message=code)


def create(request, hub):
    if not request.known:
        return refuse(request, 401, "Unauthorized")
    asked = json.loads(request.content)
    name = f"{asked.get('organization') or 'me'}/{asked['name']}"
    if name.startswith("theirs/"):
        return refuse(request, 403, "Forbidden")
    url = f"{hub.address}/{name}"
    if name in hub.repos:
        return send(request, 409, {"url": url, "error": "You already created this model repo"})
    private = asked.get("visibility") == "private" or bool(asked.get("private"))
    hub.repos[name] = Repo(private=private)
    hub.repos[name].commit({".gitattributes": b""}, "initial commit")
    return send(request, 200, {"url": url, "id": name})


def validate(request, hub):
    content = json.loads(request.content)["content"]
    errors = [] if content.startswith("---\n") else [{"message": "no metadata"}]
    send(request, 400 if errors else 200, {"errors": errors, "warnings": []})


def info(request, hub, name, _=None):
    repo = hub.repos.get(name)
    if repo is None or (repo.private and not request.known):
        return refuse(request, 404, "RepoNotFound")
    sha = list(repo.commits)[-1]
    siblings = [{"rfilename": path, "size": len(x)} for path, x in repo.commits[sha].items()]
    found = {"id": name, "sha": sha, "private": repo.private, "siblings": siblings}
    return send(request, 200, found | {"cardData": repo.card})


def preupload(request, hub, name, _):
    files = [
        {
            "path": file["path"],
            "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
            "shouldIgnore": False,
        }
        for file in json.loads(request.content)["files"]
    ]
    send(request, 200, {"files": files})


def batch(request, hub, name):
    objects = [
        {
            **asked,
            "authenticated": True,
            "actions": {"upload": {"href": f"{hub.address}/lfs/{asked['oid']}"}},
        }
        for asked in json.loads(request.content)["objects"]
    ]
    send(request, 200, {"transfer": "basic", "objects": objects})


def store(request, hub, oid):
    assert hashlib.sha256(request.content).hexdigest() == oid
    hub.blobs[oid] = request.content
    send(request, 200)


def commit(request, hub, name, _):
    if not request.known:
        return refuse(request, 401, "Unauthorized")
    files, message = {}, ""
    for line in request.content.splitlines():
        entry = json.loads(line)
        value = entry["value"]
        if entry["key"] == "header":
            message = value["summary"]
        elif entry["key"] == "file":
            files[value["path"]] = base64.b64decode(value["content"])
        elif entry["key"] == "lfsFile":
            files[value["path"]] = hub.blobs[value["oid"]]
    oid = hub.repos[name].commit(files, message)
    return send(
        request,
        200,
        {"success": True, "commitOid": oid, "commitUrl": f"{hub.address}/{name}/commit/{oid}"},
    )


def resolve(request, hub, name, revision, path):
    repo = hub.repos.get(name)
    if repo is None or (repo.private and not request.known):
        return refuse(request, 404, "RepoNotFound")
    if repo.gated:
        return refuse(request, 403, "GatedRepo")
    oid = list(repo.commits)[-1] if revision == "main" else revision
    if oid not in repo.commits:
        return refuse(request, 404, "RevisionNotFound")
    content = repo.commits[oid].get(path)
    if content is None:
        return refuse(request, 404, "EntryNotFound")
    etag = hashlib.sha256(content).hexdigest()
    return send(request, 200, content, ETag=f'"{etag}"', X_Repo_Commit=oid)


REPO, REVISION = r"([\w.-]+/[\w.-]+)", r"([\w.-]+)"
ROUTES = [
    (r"/api/repos/create", create),
    (r"/api/validate-yaml", validate),
    (rf"/api/models/{REPO}/preupload/{REVISION}", preupload),
    (rf"/api/models/{REPO}/commit/{REVISION}", commit),
    (rf"/api/models/{REPO}(?:/revision/{REVISION})?", info),
    (rf"/{REPO}\.git/info/lfs/objects/batch", batch),
    (r"/lfs/([0-9a-f]{64})", store),
    (rf"/{REPO}/resolve/{REVISION}/(.+)", resolve),
]
