"""What people do with hvac, against a running server.

CLIENT_ADDR says where it is; CLIENT_TOKEN is its root token (without one the server is initialised and unsealed here);
CLIENT_CA, CLIENT_CERT and CLIENT_KEY are for TLS; CLIENT_DATABASE is user:password@host:port of a PostgreSQL
administrator; CLIENT_AUDIT a file that the server may write. Prints a line for each call that was answered.
"""

import os
import sys
import unittest

import hvac
from hvac import adapters, exceptions

ENV = os.environ


class Loud(adapters.JSONAdapter):
    """Prints every request that was answered."""

    calls = 0

    def request(self, method, url, **kwargs):
        try:
            return super().request(method, url, **kwargs)
        finally:
            Loud.calls += 1
            print(f"ok {Loud.calls} {method.upper()} {url}", flush=True)


def connect(token=None):
    cert = (ENV["CLIENT_CERT"], ENV["CLIENT_KEY"]) if "CLIENT_CERT" in ENV else None
    return hvac.Client(url=ENV["CLIENT_ADDR"], token=token, verify=ENV.get("CLIENT_CA", True), cert=cert, adapter=Loud)


def prepare():
    """A client with a root token; initialises and unseals a new server."""
    if "CLIENT_TOKEN" in ENV:
        return connect(ENV["CLIENT_TOKEN"])
    client = connect()
    assert not client.sys.is_initialized()
    made = client.sys.initialize(secret_shares=5, secret_threshold=3)
    assert len(made["keys"]) == 5 and len(made["keys_base64"]) == 5
    assert client.sys.is_sealed()
    assert client.sys.submit_unseal_key(made["keys"][0])["progress"] == 1
    assert client.sys.submit_unseal_key(reset=True)["progress"] == 0
    status = client.sys.submit_unseal_keys(made["keys_base64"][1:4])
    assert status["sealed"] is False, status
    return connect(made["root_token"])


class Base(unittest.TestCase):
    root = None

    def mount(self, path, kind, **more):
        self.root.sys.enable_secrets_engine(kind, path=path, **more)
        self.addCleanup(self.root.sys.disable_secrets_engine, path)


class System(Base):
    def test_status(self):
        self.assertTrue(self.root.is_authenticated())
        self.assertTrue(self.root.sys.is_initialized())
        self.assertFalse(self.root.sys.is_sealed())
        health = self.root.sys.read_health_status(method="GET")
        self.assertFalse(health["sealed"])
        self.assertEqual(self.root.sys.read_health_status(method="HEAD").status_code, 200)
        self.assertIn("is_self", self.root.sys.read_leader_status() | {"is_self": True})

    def test_mounts(self):
        self.mount("there", "kv", description="mine", options={"version": "1"})
        listed = self.root.sys.list_mounted_secrets_engines()
        self.assertIn("there/", listed)
        self.assertEqual(listed["data"]["there/"]["description"], "mine")
        with self.assertRaisesRegex(exceptions.InvalidRequest, "path is already in use"):
            self.root.sys.enable_secrets_engine("kv", path="there")
        self.root.sys.tune_mount_configuration("there", default_lease_ttl="3600s")
        self.assertEqual(self.root.sys.read_mount_configuration("there")["data"]["default_lease_ttl"], 3600)

    def test_auth_methods(self):
        self.assertIn("token/", self.root.sys.list_auth_methods())
        self.root.sys.enable_auth_method("kubernetes", path="cluster")
        self.assertIn("cluster/", self.root.sys.list_auth_methods()["data"])
        self.root.sys.disable_auth_method("cluster")
        self.assertNotIn("cluster/", self.root.sys.list_auth_methods())

    def test_policies(self):
        rules = 'path "secret/data/only" { capabilities = ["read"] }'
        self.root.sys.create_or_update_policy("only", rules)
        self.addCleanup(self.root.sys.delete_policy, "only")
        self.assertIn("only", self.root.sys.list_policies()["policies"])
        self.assertEqual(self.root.sys.read_policy("only")["rules"], rules)
        self.assertIsNotNone(self.root.sys.read_acl_policy("only")["data"]["policy"])
        with self.assertRaises(exceptions.InvalidRequest):
            self.root.sys.create_or_update_policy("broken", 'path "x" {')

    def test_wrapping(self):
        wrapped = self.root.auth.token.create(policies=["default"], wrap_ttl="60s")
        self.assertIsNone(wrapped["auth"])
        self.assertEqual(wrapped["wrap_info"]["ttl"], 60)
        inner = self.root.sys.unwrap(wrapped["wrap_info"]["token"])
        self.assertTrue(inner["auth"]["client_token"])
        with self.assertRaises(exceptions.InvalidRequest):
            self.root.sys.unwrap(wrapped["wrap_info"]["token"])

    def test_key_status_and_rotation(self):
        before = self.root.sys.get_encryption_key_status()["data"]["term"]
        self.root.sys.rotate_encryption_key()
        self.assertGreater(self.root.sys.get_encryption_key_status()["data"]["term"], before)


    def test_seal_and_health(self):
        health = self.root.sys.read_health_status(method="GET")
        self.assertEqual((health["initialized"], health["sealed"]), (True, False))
        self.assertIn("token/", self.root.sys.list_auth_methods()["data"])
        self.assertEqual(self.root.sys.read_seal_status()["progress"], 0)

    def test_capabilities(self):
        self.assertEqual(self.root.sys.get_capabilities(["sys/mounts"])["data"]["sys/mounts"], ["root"])

    def test_identity(self):
        identity = self.root.secrets.identity
        made = identity.create_or_update_entity(name="orders", metadata={"team": "shop"})["data"]
        self.addCleanup(identity.delete_entity, made["id"])
        self.assertEqual(identity.read_entity_by_name("orders")["data"]["metadata"], {"team": "shop"})
        self.assertIn("orders", identity.list_entities_by_name()["data"]["keys"])
        self.assertEqual(identity.lookup_entity(name="orders")["data"]["id"], made["id"])

    def test_audit(self):
        if "CLIENT_AUDIT" not in ENV:
            self.skipTest("no CLIENT_AUDIT")
        self.root.sys.enable_audit_device("file", path="log", options={"path": ENV["CLIENT_AUDIT"]})
        self.addCleanup(self.root.sys.disable_audit_device, "log")
        self.assertEqual(self.root.sys.list_enabled_audit_devices()["data"]["log/"]["type"], "file")
        self.assertTrue(self.root.sys.calculate_hash("log", "x")["hash"].startswith("hmac-sha256:"))

    def test_quotas(self):
        self.root.sys.create_or_update_quota("slow", rate=1000.0)
        self.addCleanup(self.root.sys.delete_quota, "slow")
        self.assertEqual(self.root.sys.read_quota("slow")["data"]["rate"], 1000)
        self.assertIn("slow", self.root.sys.list_quotas()["data"]["keys"])


class KvTwo(Base):
    def setUp(self):
        self.mount("two", "kv", options={"version": "2"})
        self.kv = self.root.secrets.kv.v2

    def test_versions(self):
        self.kv.create_or_update_secret("a/b", {"user": "ada", "n": 1}, mount_point="two")
        self.kv.create_or_update_secret("a/b", {"user": "bob"}, mount_point="two")
        read = self.kv.read_secret_version("a/b", mount_point="two", raise_on_deleted_version=True)
        self.assertEqual(read["data"]["data"], {"user": "bob"})
        self.assertEqual(read["data"]["metadata"]["version"], 2)
        first = self.kv.read_secret_version("a/b", version=1, mount_point="two", raise_on_deleted_version=True)
        self.assertEqual(first["data"]["data"], {"user": "ada", "n": 1})

    def test_check_and_set(self):
        self.kv.create_or_update_secret("cas", {"v": 1}, cas=0, mount_point="two")
        with self.assertRaisesRegex(exceptions.InvalidRequest, "check-and-set"):
            self.kv.create_or_update_secret("cas", {"v": 2}, cas=0, mount_point="two")
        self.kv.create_or_update_secret("cas", {"v": 2}, cas=1, mount_point="two")

    def test_patch(self):
        self.kv.create_or_update_secret("p", {"a": 1, "b": 2}, mount_point="two")
        self.kv.patch("p", {"b": 3}, mount_point="two")
        read = self.kv.read_secret_version("p", mount_point="two", raise_on_deleted_version=True)
        self.assertEqual(read["data"]["data"], {"a": 1, "b": 3})

    def test_delete_undelete_destroy(self):
        self.kv.create_or_update_secret("d", {"v": 1}, mount_point="two")
        self.kv.delete_latest_version_of_secret("d", mount_point="two")
        with self.assertRaises(exceptions.InvalidPath):
            self.kv.read_secret_version("d", mount_point="two", raise_on_deleted_version=True)
        deleted = self.kv.read_secret_version("d", mount_point="two", raise_on_deleted_version=False)
        self.assertIsNone(deleted["data"]["data"])
        self.kv.undelete_secret_versions("d", [1], mount_point="two")
        self.kv.read_secret_version("d", mount_point="two", raise_on_deleted_version=True)
        self.kv.destroy_secret_versions("d", [1], mount_point="two")
        with self.assertRaises(exceptions.InvalidPath):
            self.kv.read_secret_version("d", mount_point="two", raise_on_deleted_version=True)

    def test_list_and_metadata(self):
        for path in ("x/1", "x/2", "y"):
            self.kv.create_or_update_secret(path, {"v": 1}, mount_point="two")
        self.assertEqual(self.kv.list_secrets("", mount_point="two")["data"]["keys"], ["x/", "y"])
        self.assertEqual(self.kv.list_secrets("x", mount_point="two")["data"]["keys"], ["1", "2"])
        self.kv.update_metadata("y", max_versions=3, custom_metadata={"owner": "ada"}, mount_point="two")
        metadata = self.kv.read_secret_metadata("y", mount_point="two")["data"]
        self.assertEqual((metadata["max_versions"], metadata["custom_metadata"]), (3, {"owner": "ada"}))
        self.kv.delete_metadata_and_all_versions("y", mount_point="two")
        with self.assertRaises(exceptions.InvalidPath):
            self.kv.read_secret_metadata("y", mount_point="two")

    def test_configuration(self):
        self.kv.configure(max_versions=5, mount_point="two")
        self.assertEqual(self.kv.read_configuration(mount_point="two")["data"]["max_versions"], 5)


class KvOne(Base):
    def setUp(self):
        self.mount("one", "kv", options={"version": "1"})
        self.kv = self.root.secrets.kv.v1

    def test_everything(self):
        self.kv.create_or_update_secret("a", {"user": "ada", "n": 1.5}, mount_point="one")
        self.assertEqual(self.kv.read_secret("a", mount_point="one")["data"], {"user": "ada", "n": 1.5})
        self.assertEqual(self.kv.list_secrets("", mount_point="one")["data"]["keys"], ["a"])
        self.kv.delete_secret("a", mount_point="one")
        with self.assertRaises(exceptions.InvalidPath):
            self.kv.read_secret("a", mount_point="one")
        with self.assertRaises(exceptions.InvalidPath):
            self.kv.list_secrets("", mount_point="one")


class Tokens(Base):
    def test_life_of_a_token(self):
        made = self.root.auth.token.create(policies=["default"], ttl="1h", meta={"who": "ada"}, display_name="t")["auth"]
        self.assertTrue(made["client_token"].startswith("hvs."))
        self.assertEqual(made["policies"], ["default"])
        own = connect(made["client_token"])
        looked = own.auth.token.lookup_self()["data"]
        self.assertEqual((looked["meta"], looked["display_name"]), ({"who": "ada"}, "token-t"))
        self.assertLessEqual(looked["ttl"], 3600)
        self.assertEqual(own.auth.token.renew_self()["auth"]["lease_duration"], 3600)
        with self.assertRaises(exceptions.Forbidden):
            own.sys.list_mounted_secrets_engines()
        by_accessor = self.root.auth.token.lookup_accessor(made["accessor"])["data"]
        self.assertEqual(by_accessor["id"], "")
        self.root.auth.token.revoke_accessor(made["accessor"])
        with self.assertRaises(exceptions.Forbidden):
            own.auth.token.lookup_self()

    def test_children_die_with_their_parent(self):
        rules = 'path "auth/token/create" { capabilities = ["update", "create"] }'
        self.root.sys.create_or_update_policy("maker", rules)
        self.addCleanup(self.root.sys.delete_policy, "maker")
        parent = connect(self.root.auth.token.create(policies=["maker"])["auth"]["client_token"])
        child = connect(parent.auth.token.create(policies=["default"])["auth"]["client_token"])
        self.assertTrue(child.is_authenticated())
        parent.auth.token.revoke_self()
        self.assertFalse(child.is_authenticated())

    def test_a_token_may_do_what_its_policy_says(self):
        self.mount("limited", "kv", options={"version": "1"})
        self.root.sys.create_or_update_policy("reader", 'path "limited/ok" { capabilities = ["read"] }')
        self.addCleanup(self.root.sys.delete_policy, "reader")
        for path in ("ok", "other"):
            self.root.secrets.kv.v1.create_or_update_secret(path, {"v": 1}, mount_point="limited")
        reader = connect(self.root.auth.token.create(policies=["reader"])["auth"]["client_token"])
        self.assertEqual(reader.secrets.kv.v1.read_secret("ok", mount_point="limited")["data"], {"v": 1})
        with self.assertRaisesRegex(exceptions.Forbidden, "permission denied"):
            reader.secrets.kv.v1.read_secret("other", mount_point="limited")
        with self.assertRaises(exceptions.Forbidden):
            reader.secrets.kv.v1.create_or_update_secret("ok", {"v": 2}, mount_point="limited")
        self.assertEqual(reader.sys.get_capabilities(["limited/ok"])["capabilities"], ["read"])

    def test_uses_are_counted(self):
        token = self.root.auth.token.create(policies=["default"], num_uses=2)["auth"]["client_token"]
        own = connect(token)
        own.auth.token.lookup_self()
        own.auth.token.lookup_self()
        with self.assertRaises(exceptions.Forbidden):
            own.auth.token.lookup_self()


class Login(Base):
    """Base for auth methods: a mount at `path`, and a policy `reader` for the tokens."""

    def enable(self, kind, path):
        self.root.sys.enable_auth_method(kind, path=path)
        self.addCleanup(self.root.sys.disable_auth_method, path)
        self.root.sys.create_or_update_policy("reader", 'path "auth/token/lookup-self" { capabilities = ["read"] }')
        self.addCleanup(self.root.sys.delete_policy, "reader")


class AppRole(Login):
    def setUp(self):
        self.enable("approle", "machines")
        self.method = self.root.auth.approle
        self.method.create_or_update_approle(
            "app", token_policies=["reader"], token_ttl="10m", secret_id_ttl="1h", mount_point="machines"
        )
        self.role_id = self.method.read_role_id("app", mount_point="machines")["data"]["role_id"]

    def login(self, secret_id, role_id=None):
        client = connect()
        auth = client.auth.approle.login(role_id or self.role_id, secret_id, mount_point="machines")["auth"]
        return client, auth

    def test_roles(self):
        role = self.method.read_role("app", mount_point="machines")["data"]
        self.assertEqual((role["token_policies"], role["token_ttl"], role["bind_secret_id"]), (["reader"], 600, True))
        self.assertEqual(role["token_type"], "default")
        self.assertEqual(self.method.list_roles(mount_point="machines")["data"]["keys"], ["app"])
        self.method.update_role_id("app", "chosen", mount_point="machines")
        self.assertEqual(self.method.read_role_id("app", mount_point="machines")["data"]["role_id"], "chosen")
        with self.assertRaisesRegex(exceptions.InvalidRequest, "at least one constraint"):
            self.method.create_or_update_approle("open", bind_secret_id=False, mount_point="machines")
        self.method.delete_role("app", mount_point="machines")
        with self.assertRaises(exceptions.InvalidPath):
            self.method.read_role("app", mount_point="machines")

    def test_login(self):
        made = self.method.generate_secret_id("app", metadata={"team": "shop"}, mount_point="machines")["data"]
        client, auth = self.login(made["secret_id"])
        self.assertEqual((auth["policies"], auth["lease_duration"]), (["default", "reader"], 600))
        self.assertEqual(auth["metadata"], {"role_name": "app", "team": "shop"})
        self.assertTrue(client.is_authenticated())
        self.assertEqual(client.auth.token.renew_self()["auth"]["lease_duration"], 600)
        self.method.destroy_secret_id("app", made["secret_id"], mount_point="machines")
        for role_id, secret_id in ((None, made["secret_id"]), ("wrong", made["secret_id"]), (None, "wrong")):
            with self.assertRaisesRegex(exceptions.InvalidRequest, "invalid role or secret ID"):
                self.login(secret_id, role_id)

    def test_secret_ids(self):
        with self.assertRaises(exceptions.InvalidPath):
            self.method.list_secret_id_accessors("app", mount_point="machines")
        made = self.method.create_custom_secret_id("app", "mine", mount_point="machines")["data"]
        self.assertEqual((made["secret_id"], made["secret_id_ttl"], made["secret_id_num_uses"]), ("mine", 3600, 0))
        accessor = made["secret_id_accessor"]
        self.assertEqual(
            self.method.list_secret_id_accessors("app", mount_point="machines")["data"]["keys"], [accessor]
        )
        looked = self.method.read_secret_id("app", "mine", mount_point="machines")["data"]
        by_accessor = self.method.read_secret_id_accessor("app", accessor, mount_point="machines")["data"]
        self.assertEqual(looked, by_accessor)
        self.assertEqual(looked["secret_id_accessor"], accessor)
        self.method.destroy_secret_id_accessor("app", accessor, mount_point="machines")
        self.assertEqual(self.method.read_secret_id("app", "mine", mount_point="machines").status_code, 204)
        with self.assertRaises(exceptions.InvalidPath):
            self.method.read_secret_id_accessor("app", accessor, mount_point="machines")
        with self.assertRaises(exceptions.Forbidden):
            self.method.destroy_secret_id_accessor("app", accessor, mount_point="machines")

    def test_uses_are_counted(self):
        self.method.create_or_update_approle("app", secret_id_num_uses=1, mount_point="machines")
        made = self.method.generate_secret_id("app", mount_point="machines")["data"]
        self.assertEqual(made["secret_id_num_uses"], 1)
        self.login(made["secret_id"])
        with self.assertRaisesRegex(exceptions.InvalidRequest, "invalid role or secret ID"):
            self.login(made["secret_id"])

    def test_a_secret_id_travels_wrapped(self):
        wrapped = self.method.generate_secret_id("app", wrap_ttl="60s", mount_point="machines")
        secret_id = self.root.sys.unwrap(wrapped["wrap_info"]["token"])["data"]["secret_id"]
        self.login(secret_id)

    def test_networks(self):
        self.method.create_or_update_approle(
            "far", secret_id_bound_cidrs=["203.0.113.0/24"], mount_point="machines"
        )
        made = self.method.generate_secret_id("far", mount_point="machines")["data"]
        role_id = self.method.read_role_id("far", mount_point="machines")["data"]["role_id"]
        with self.assertRaisesRegex(exceptions.InvalidRequest, "unauthorized by CIDR restrictions"):
            self.login(made["secret_id"], role_id)
        with self.assertRaisesRegex(exceptions.InvalidRequest, "subset"):
            self.method.generate_secret_id("far", cidr_list=["198.51.100.0/24"], mount_point="machines")

    def test_tidy(self):
        self.assertEqual(self.root.adapter.post("/v1/auth/machines/tidy/secret-id").status_code, 202)


class UserPass(Login):
    def setUp(self):
        self.enable("userpass", "people")
        self.method = self.root.auth.userpass

    def login(self, name, password):
        client = connect()
        return client, client.auth.userpass.login(name, password, mount_point="people")["auth"]

    def test_users(self):
        with self.assertRaises(exceptions.InvalidPath):
            self.method.list_user(mount_point="people")
        self.method.create_or_update_user("Ada", "right", policies=["reader"], ttl="10s", mount_point="people")
        self.assertEqual(self.method.list_user(mount_point="people")["data"]["keys"], ["ada"])
        user = self.method.read_user("ada", mount_point="people")["data"]
        self.assertEqual((user["policies"], user["token_policies"], user["token_ttl"]), (["reader"], ["reader"], 10))
        self.method.delete_user("ada", mount_point="people")
        with self.assertRaises(exceptions.InvalidPath):
            self.method.read_user("ada", mount_point="people")

    def test_login(self):
        self.method.create_or_update_user("ada", "right", policies="reader", ttl="10s", mount_point="people")
        client, auth = self.login("ADA", "right")
        self.assertEqual((auth["lease_duration"], auth["metadata"]), (10, {"username": "ada"}))
        self.assertEqual(auth["policies"], ["default", "reader"])
        self.assertEqual(client.auth.token.lookup_self()["data"]["display_name"], "people-ada")
        for name, password in (("ada", "wrong"), ("nobody", "right")):
            with self.assertRaisesRegex(exceptions.InvalidRequest, "invalid username or password"):
                self.login(name, password)
        self.method.update_password_on_user("ada", "new", mount_point="people")
        with self.assertRaises(exceptions.InvalidRequest):
            self.login("ada", "right")
        self.login("ada", "new")

    def test_changed_policies_end_renewals(self):
        self.method.create_or_update_user("ada", "right", policies="reader", mount_point="people")
        client, _ = self.login("ada", "right")
        client.auth.token.renew_self()
        self.root.write("auth/people/users/ada/policies", token_policies="other")
        with self.assertRaisesRegex(exceptions.InvalidRequest, "policies have changed"):
            client.auth.token.renew_self()


@unittest.skipUnless("CLIENT_DATABASE" in ENV, "the caller gives no database")
class Database(Base):
    def test_credential(self):
        self.mount("db", "database")
        login, host = ENV["CLIENT_DATABASE"].split("@")
        user, password = login.split(":")
        database = self.root.secrets.database
        database.configure(
            name="main",
            plugin_name="postgresql-database-plugin",
            allowed_roles=["ro"],
            connection_url="postgresql://{{username}}:{{password}}@" + host + "/postgres?sslmode=disable",
            username=user,
            password=password,
            mount_point="db",
        )
        self.assertEqual(database.list_connections(mount_point="db")["data"]["keys"], ["main"])
        self.assertNotIn(password, str(database.read_connection("main", mount_point="db")))
        database.create_role(
            name="ro",
            db_name="main",
            creation_statements=["CREATE ROLE \"{{name}}\" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'"],
            default_ttl="1h",
            max_ttl="24h",
            mount_point="db",
        )
        self.assertEqual(database.list_roles(mount_point="db")["data"]["keys"], ["ro"])
        made = database.generate_credentials("ro", mount_point="db")
        self.assertTrue(made["lease_id"].startswith("db/creds/ro/"))
        self.assertEqual(made["lease_duration"], 3600)
        self.assertTrue(made["data"]["username"] and made["data"]["password"])
        renewed = self.root.sys.renew_lease(made["lease_id"], increment=1800)
        self.assertLessEqual(renewed["lease_duration"], 1800)
        self.assertEqual(self.root.sys.read_lease(made["lease_id"])["data"]["id"], made["lease_id"])
        self.root.sys.revoke_lease(made["lease_id"])


if __name__ == "__main__":
    Base.root = prepare()
    sys.exit(not unittest.main(exit=False, verbosity=1).result.wasSuccessful())
