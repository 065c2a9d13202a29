// What people do with node-vault, against a new server over TLS.
//
// CLIENT_ADDR says where it is, CLIENT_CA names the PEM file of the authority that signed its certificate.
// Prints a line for each call that was answered; the first surprise ends the program with status 1.
'use strict';

const assert = require('node:assert/strict');
const fs = require('node:fs');
const vault = require('node-vault');

const endpoint = process.env.CLIENT_ADDR;
const ca = fs.readFileSync(process.env.CLIENT_CA);

let calls = 0;

/** A client with this token. Every request of it is counted when its answer is here. */
function connect(token, options = {}) {
  const client = vault({ endpoint, token, requestOptions: { ca }, ...options });
  const answered = client.handleVaultResponse;
  client.handleVaultResponse = (response) => {
    calls += 1;
    console.log(`ok ${calls} ${response.statusCode} ${response.request.path}`);
    return answered(response);
  };
  return client;
}

/** Makes a token with a client of its own, because node-vault goes over to every token that it makes. */
function make(root, command, options) {
  return connect(root.token)[command](options);
}

/** The call must be refused with this status and a text that matches. */
async function refused(call, status, text) {
  await assert.rejects(call, (error) => {
    assert.equal(error.response && error.response.statusCode, status, String(error));
    assert.match(error.message, text);
    assert.ok(Array.isArray(error.response.body.errors), 'errors is a list');
    return true;
  });
}

async function start(client) {
  assert.deepEqual(await client.initialized(), { initialized: false });
  const before = await client.health();
  assert.equal(before.initialized, false);
  const made = await client.init({ secret_shares: 3, secret_threshold: 2 });
  assert.equal(made.keys.length, 3);
  assert.equal((await client.status()).sealed, true);
  await refused(connect('x').read('sys/mounts'), 503, /Vault is sealed/);
  assert.equal((await client.unseal({ key: made.keys[0] })).progress, 1);
  assert.equal((await client.unseal({ key: made.keys[0], reset: true })).progress, 0);
  await client.unseal({ key: made.keys_base64[0] });
  assert.equal((await client.unseal({ key: made.keys_base64[2] })).sealed, false);
  return made;
}

async function status(root) {
  const health = await root.health();
  assert.deepEqual([health.initialized, health.sealed], [true, false]);
  assert.equal((await root.status()).t, 2);
  assert.equal(typeof (await root.leader()).ha_enabled, 'boolean');
  const help = await root.help('sys/policy');
  assert.equal(typeof help.help, 'string');
}

async function mounts(root) {
  await root.mount({ mount_point: 'there', type: 'kv', description: 'mine', options: { version: '1' } });
  const listed = await root.mounts();
  assert.equal(listed['there/'].description, 'mine');
  assert.equal(listed.data['there/'].type, 'kv');
  await refused(root.mount({ mount_point: 'there', type: 'kv' }), 400, /path is already in use/);
  await refused(root.mount({ mount_point: 'other', type: 'nonsense' }), 400, /plugin not found/);
  await root.remount({ from: 'there', to: 'elsewhere' });
  assert.ok((await root.mounts())['elsewhere/']);
  await root.write('elsewhere/a/b', { n: 1, list: [true, null] });
  assert.deepEqual((await root.read('elsewhere/a/b')).data, { n: 1, list: [true, null] });
  assert.deepEqual((await root.list('elsewhere')).data.keys, ['a/']);
  assert.deepEqual((await connect(root.token, { noCustomHTTPVerbs: true }).list('elsewhere/a')).data.keys, ['b']);
  await root.delete('elsewhere/a/b');
  await refused(root.read('elsewhere/a/b'), 404, /Status 404/);
  await root.unmount({ mount_point: 'elsewhere' });
  await refused(root.read('elsewhere/a/b'), 404, /no handler for route/);
}

async function versions(root) {
  await root.mount({ mount_point: 'secret', type: 'kv', options: { version: '2' } });
  assert.equal((await root.write('secret/data/app', { data: { password: 'one', user: 'u' } })).data.version, 1);
  const second = await root.write('secret/data/app', { data: { password: 'two', user: 'u' }, options: { cas: 1 } });
  assert.equal(second.data.version, 2);
  const stale = root.write('secret/data/app', { data: {}, options: { cas: 1 } });
  await refused(stale, 400, /check-and-set parameter did not match the current version/);
  assert.equal((await root.read('secret/data/app')).data.data.password, 'two');
  assert.equal((await root.read('secret/data/app?version=1')).data.data.password, 'one');
  assert.equal((await root.update('secret/data/app', { data: { user: null, more: 1 } })).data.version, 3);
  assert.deepEqual((await root.read('secret/data/app')).data.data, { password: 'two', more: 1 });
  assert.deepEqual((await root.read('secret/subkeys/app')).data.subkeys, { password: null, more: null });
  await root.write('secret/metadata/app', { custom_metadata: { team: 'shop' }, max_versions: 4 });
  const metadata = (await root.read('secret/metadata/app')).data;
  assert.deepEqual([metadata.current_version, metadata.custom_metadata.team], [3, 'shop']);
  assert.deepEqual((await root.list('secret/metadata')).data.keys, ['app']);
  await root.delete('secret/data/app');
  // A deleted version is a 404 whose body is no list of errors but the version's metadata.
  await assert.rejects(root.read('secret/data/app'), (error) => error.response.body.data.metadata.version === 3);
  await root.write('secret/undelete/app', { versions: [3] });
  assert.equal((await root.read('secret/data/app')).data.metadata.version, 3);
  await root.destroySecretVersions({ path: 'app', versions: [1] });
  assert.equal((await root.read('secret/metadata/app')).data.versions['1'].destroyed, true);
  await root.delete('secret/metadata/app');
  await refused(root.read('secret/metadata/app'), 404, /Status 404/);
}

async function policies(root) {
  const rules = 'path "secret/data/mine/*" { capabilities = ["read"] }';
  await root.addPolicy({ name: 'reader', rules });
  assert.equal((await root.getPolicy({ name: 'reader' })).rules, rules);
  assert.ok((await root.policies()).policies.includes('reader'));
  await refused(root.addPolicy({ name: 'bad', rules: 'path "x" {' }), 400, /failed to parse policy/);
  await root.write('secret/data/mine/a', { data: { v: 1 } });
  const made = await make(root, 'tokenCreate', { policies: ['reader'], ttl: '1h' });
  const reader = connect(made.auth.client_token);
  assert.equal((await reader.read('secret/data/mine/a')).data.data.v, 1);
  await refused(reader.write('secret/data/mine/a', { data: {} }), 403, /permission denied/);
  await refused(reader.mounts(), 403, /permission denied/);
  const may = await reader.write('sys/capabilities-self', { paths: ['secret/data/mine/a', 'secret/data/other'] });
  assert.deepEqual(may['secret/data/mine/a'], ['read']);
  assert.deepEqual(may['secret/data/other'], ['deny']);
  await root.removePolicy({ name: 'reader' });
}

async function tokens(root) {
  const made = (await make(root, 'tokenCreate', { policies: ['default'], ttl: '30m', meta: { who: 'me' } })).auth;
  assert.match(made.client_token, /^hvs\./);
  assert.equal(made.lease_duration, 1800);
  const own = connect(made.client_token);
  const found = (await own.tokenLookupSelf()).data;
  assert.deepEqual([found.accessor, found.meta.who, found.type], [made.accessor, 'me', 'service']);
  assert.equal((await own.tokenRenewSelf({ increment: '20m' })).auth.lease_duration, 1200);
  assert.equal((await root.tokenLookup({ token: made.client_token })).data.accessor, made.accessor);
  assert.equal((await root.tokenLookupAccessor({ accessor: made.accessor })).data.id, '');
  assert.ok((await root.tokenAccessors()).data.keys.includes(made.accessor));
  await root.tokenRevokeAccessor({ accessor: made.accessor });
  await refused(own.tokenLookupSelf(), 403, /permission denied/);
  await root.addTokenRole({ role_name: 'job', allowed_policies: 'default', orphan: true, renewable: false });
  assert.equal((await root.getTokenRole({ role_name: 'job' })).data.orphan, true);
  assert.deepEqual((await root.tokenRoles()).data.keys, ['job']);
  const job = (await make(root, 'tokenCreateRole', { role_name: 'job' })).auth;
  assert.deepEqual([job.renewable, job.orphan], [false, true]);
  await root.removeTokenRole({ role_name: 'job' });
  const orphan = (await make(root, 'tokenCreateOrphan', { policies: ['default'] })).auth;
  await root.tokenRevoke({ token: orphan.client_token });
  await connect(job.client_token).tokenRevokeSelf();
}

async function wrapping(root) {
  const wrapped = await root.write('sys/wrapping/wrap', { a: 'b' }, { headers: { 'X-Vault-Wrap-TTL': '60' } });
  assert.equal(wrapped.wrap_info.ttl, 60);
  const looked = await root.write('sys/wrapping/lookup', { token: wrapped.wrap_info.token });
  assert.equal(looked.data.creation_path, 'sys/wrapping/wrap');
  assert.deepEqual((await connect(wrapped.wrap_info.token).unwrap()).data, { a: 'b' });
  const again = root.unwrap({ token: wrapped.wrap_info.token });
  await refused(again, 400, /wrapping token is not valid or does not exist/);
}

async function logins(root) {
  await root.enableAuth({ mount_point: 'approle', type: 'approle' });
  assert.equal((await root.auths())['approle/'].type, 'approle');
  await root.addApproleRole({ role_name: 'app', token_policies: 'default', token_ttl: 600 });
  assert.equal((await root.getApproleRole({ role_name: 'app' })).data.token_ttl, 600);
  assert.deepEqual((await root.approleRoles()).data.keys, ['app']);
  await root.updateApproleRoleId({ role_name: 'app', role_id: 'the-app' });
  const role_id = (await root.getApproleRoleId({ role_name: 'app' })).data.role_id;
  assert.equal(role_id, 'the-app');
  const { secret_id, secret_id_accessor } = (await root.getApproleRoleSecret({ role_name: 'app' })).data;
  assert.deepEqual((await root.approleSecretAccessors({ role_name: 'app' })).data.keys, [secret_id_accessor]);
  assert.ok((await root.approleSecretLookup({ role_name: 'app', secret_id })).data.creation_time);
  const app = connect();
  const login = await app.approleLogin({ role_id, secret_id });
  assert.equal(login.auth.metadata.role_name, 'app');
  assert.equal((await app.tokenLookupSelf()).data.path, 'auth/approle/login');
  await root.approleSecretAccessorDestroy({ role_name: 'app', secret_id_accessor });
  await refused(connect().approleLogin({ role_id, secret_id }), 400, /invalid secret id|invalid role or secret ID/);
  await root.deleteApproleRole({ role_name: 'app' });
  await root.disableAuth({ mount_point: 'approle' });

  await root.enableAuth({ mount_point: 'people', type: 'userpass' });
  await root.write('auth/people/users/mia', { password: 'long enough', token_policies: ['default'] });
  const mia = connect();
  await mia.userpassLogin({ mount_point: 'people', username: 'mia', password: 'long enough' });
  assert.equal((await mia.tokenLookupSelf()).data.meta.username, 'mia');
  const wrong = connect().userpassLogin({ mount_point: 'people', username: 'mia', password: 'wrong' });
  await refused(wrong, 400, /invalid username or password/);
}

async function operations(root, made) {
  await root.enableAudit({ name: 'file', type: 'file', options: { file_path: process.env.CLIENT_AUDIT } });
  assert.equal((await root.audits())['file/'].type, 'file');
  const hash = (await root.write('sys/audit-hash/file', { input: 'x' })).hash;
  assert.match(hash, /^hmac-sha256:[0-9a-f]{64}$/);
  await root.disableAudit({ name: 'file' });
  const term = (await root.read('sys/key-status')).data.term;
  await root.rotate();
  assert.equal((await root.read('sys/key-status')).data.term, term + 1);
  assert.equal((await root.write('sys/tools/random/8', { format: 'hex' })).data.random_bytes.length, 16);
  await refused(root.renew({ lease_id: 'nothing/here/x' }), 400, /lease not found/);
  const attempt = await root.generateRootInit({});
  assert.equal(attempt.started, true);
  await root.generateRootCancel();
  await root.seal();
  assert.equal((await root.status()).sealed, true);
  for (const key of made.keys.slice(0, 2)) await root.unseal({ key });
  assert.equal((await root.tokenLookupSelf()).data.policies[0], 'root');
}

async function main() {
  const client = connect();
  const made = await start(client);
  const root = connect(made.root_token);
  for (const part of [status, mounts, versions, policies, tokens, wrapping, logins]) await part(root);
  await operations(root, made);
  console.log(`${calls} calls`);
}

main().catch((error) => {
  console.error(error, error.response && JSON.stringify(error.response));
  process.exitCode = 1;
});
