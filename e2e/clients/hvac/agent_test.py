"""An application with hvac and no token, behind the listener of an agent that logs in (CLIENT_ADDR)."""

import os

import hvac
from hvac import exceptions

client = hvac.Client(url=os.environ["CLIENT_ADDR"], token="")
assert not client.token
assert client.sys.read_health_status(method="GET")["sealed"] is False
read = client.secrets.kv.v2.read_secret_version(path="app", raise_on_deleted_version=True)
assert read["data"]["data"] == {"k": "one"}, read
assert client.secrets.kv.v2.list_secrets(path="")["data"]["keys"] == ["app"]
assert client.lookup_token()["data"]["policies"] == ["app", "default"]
try:
    client.secrets.kv.v2.create_or_update_secret(path="app", secret={"k": "two"})
    raise AssertionError("written with a token that may read")
except exceptions.Forbidden:
    pass
try:
    client.secrets.kv.v2.read_secret_version(path="none", raise_on_deleted_version=True)
    raise AssertionError("read what is not there")
except exceptions.InvalidPath:
    pass
