// What people do with Vault's own Go client, against a new server over TLS.
//
// CLIENT_ADDR says where it is, CLIENT_CA names the PEM file of the authority that signed its certificate, CLIENT_AUDIT a
// file that the server may write. Prints a line for each call that was answered; the first surprise ends the program.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strings"

	vault "github.com/hashicorp/vault/api"
	"github.com/hashicorp/vault/api/auth/approle"
	"github.com/hashicorp/vault/api/auth/userpass"
)

var (
	ctx   = context.Background()
	calls int
)

// loud prints every request with its answer.
type loud struct{ inner http.RoundTripper }

func (l loud) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := l.inner.RoundTrip(request)
	if err == nil {
		calls++
		fmt.Printf("ok %d %d %s %s\n", calls, response.StatusCode, request.Method, request.URL.RequestURI())
	}
	return response, err
}

func connect(token string) *vault.Client {
	config := vault.DefaultConfig()
	config.Address = os.Getenv("CLIENT_ADDR")
	config.MaxRetries = 0
	check(config.ConfigureTLS(&vault.TLSConfig{CACert: os.Getenv("CLIENT_CA")}))
	config.HttpClient.Transport = loud{config.HttpClient.Transport}
	client, err := vault.NewClient(config)
	check(err)
	client.SetToken(token)
	return client
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

// got passes on what a call answered, which must not be an error.
func got[T any](value T, err error) T {
	check(err)
	return value
}

func equal(found, wanted any) {
	if !reflect.DeepEqual(found, wanted) {
		panic(fmt.Sprintf("found %#v, wanted %#v", found, wanted))
	}
}

// refused says that the error is an answer with this status and a text that contains this.
func refused(err error, status int, text string) {
	var answer *vault.ResponseError
	if !errors.As(err, &answer) || answer.StatusCode != status || !strings.Contains(answer.Error(), text) {
		panic(fmt.Sprintf("wanted %d %q, found %v", status, text, err))
	}
}

func start() (*vault.Client, *vault.InitResponse) {
	client := connect("")
	equal(got(client.Sys().InitStatus()), false)
	equal(got(client.Sys().Health()).Initialized, false)
	made := got(client.Sys().Init(&vault.InitRequest{SecretShares: 3, SecretThreshold: 2}))
	equal(len(made.KeysB64), 3)
	equal(got(client.Sys().SealStatus()).Sealed, true)
	equal(got(client.Sys().Unseal(made.Keys[0])).Progress, 1)
	equal(got(client.Sys().ResetUnsealProcess()).Progress, 0)
	got(client.Sys().Unseal(made.KeysB64[1]))
	equal(got(client.Sys().Unseal(made.KeysB64[2])).Sealed, false)
	client.SetToken(made.RootToken)
	return client, made
}

func status(root *vault.Client) {
	sys := root.Sys()
	health := got(sys.Health())
	equal([]bool{health.Initialized, health.Sealed, health.Standby}, []bool{true, false, false})
	equal(got(sys.SealStatus()).T, 2)
	got(sys.Leader())
	got(root.Help("sys/mounts"))
}

func mounts(root *vault.Client) {
	sys := root.Sys()
	input := &vault.MountInput{Type: "kv", Description: "mine", Options: map[string]string{"version": "1"}}
	check(sys.Mount("there", input))
	refused(sys.Mount("there", input), 400, "path is already in use")
	listed := got(sys.ListMounts())
	equal([]string{listed["there/"].Type, listed["there/"].Description}, []string{"kv", "mine"})
	check(sys.TuneMount("there", vault.MountConfigInput{MaxLeaseTTL: "2h", DefaultLeaseTTL: "1h"}))
	tuned := got(sys.MountConfig("there"))
	equal([]int{tuned.DefaultLeaseTTL, tuned.MaxLeaseTTL}, []int{3600, 7200})
	check(sys.Remount("there", "elsewhere"))
	check(root.KVv1("elsewhere").Put(ctx, "a/b", map[string]any{"n": "1"}))
	equal(got(root.KVv1("elsewhere").Get(ctx, "a/b")).Data["n"], "1")
	equal(got(root.Logical().List("elsewhere")).Data["keys"], []any{"a/"})
	check(root.KVv1("elsewhere").Delete(ctx, "a/b"))
	_, err := root.KVv1("elsewhere").Get(ctx, "a/b")
	equal(errors.Is(err, vault.ErrSecretNotFound), true)
	check(sys.Unmount("elsewhere"))
	equal(got(sys.ListMounts())["elsewhere/"] == nil, true)
}

func versions(root *vault.Client) {
	check(root.Sys().Mount("secret", &vault.MountInput{Type: "kv-v2"}))
	kv := root.KVv2("secret")
	first := got(kv.Put(ctx, "app", map[string]any{"user": "u", "password": "one"}, vault.WithCheckAndSet(0)))
	equal(first.VersionMetadata.Version, 1)
	_, err := kv.Put(ctx, "app", map[string]any{}, vault.WithCheckAndSet(0))
	refused(err, 400, "check-and-set parameter did not match the current version")
	equal(got(kv.Put(ctx, "app", map[string]any{"user": "u", "password": "two"})).VersionMetadata.Version, 2)
	equal(got(kv.Get(ctx, "app")).Data["password"], "two")
	equal(got(kv.GetVersion(ctx, "app", 1)).Data["password"], "one")
	equal(got(kv.Patch(ctx, "app", map[string]any{"more": true})).VersionMetadata.Version, 3)
	equal(got(kv.Get(ctx, "app")).Data["more"], true)
	equal(got(kv.Rollback(ctx, "app", 1)).VersionMetadata.Version, 4)
	equal(len(got(kv.GetVersionsAsList(ctx, "app"))), 4)
	check(kv.PutMetadata(ctx, "app", vault.KVMetadataPutInput{CustomMetadata: map[string]any{"team": "shop"}, MaxVersions: 9}))
	team := "store"
	check(kv.PatchMetadata(ctx, "app", vault.KVMetadataPatchInput{CustomMetadata: map[string]any{"team": team}}))
	metadata := got(kv.GetMetadata(ctx, "app"))
	equal([]any{metadata.CurrentVersion, metadata.CustomMetadata["team"], metadata.MaxVersions}, []any{4, any(team), 9})
	equal(got(root.Logical().List("secret/metadata")).Data["keys"], []any{"app"})
	check(kv.Delete(ctx, "app"))
	deleted := got(kv.Get(ctx, "app"))
	equal(deleted.Data == nil && !deleted.VersionMetadata.DeletionTime.IsZero(), true)
	check(kv.Undelete(ctx, "app", []int{4}))
	equal(got(kv.Get(ctx, "app")).Data["password"], "one")
	check(kv.DeleteVersions(ctx, "app", []int{2}))
	check(kv.Destroy(ctx, "app", []int{1}))
	equal(got(kv.GetMetadata(ctx, "app")).Versions["1"].Destroyed, true)
	check(kv.DeleteMetadata(ctx, "app"))
	_, err = kv.Get(ctx, "app")
	equal(errors.Is(err, vault.ErrSecretNotFound), true)
	equal(got(root.Logical().Read("secret/data/app")) == nil, true)
}

func policies(root *vault.Client) {
	sys := root.Sys()
	rules := `path "secret/data/mine/*" { capabilities = ["read", "list"] }`
	check(sys.PutPolicy("reader", rules))
	equal(got(sys.GetPolicy("reader")), rules)
	equal(slices.Contains(got(sys.ListPolicies()), "reader"), true)
	refused(sys.PutPolicy("bad", `path "x" {`), 400, "failed to parse policy")
	got(root.KVv2("secret").Put(ctx, "mine/a", map[string]any{"v": "1"}))
	made := got(root.Auth().Token().Create(&vault.TokenCreateRequest{Policies: []string{"reader"}}))
	reader := connect(made.Auth.ClientToken)
	equal(got(reader.KVv2("secret").Get(ctx, "mine/a")).Data["v"], "1")
	_, err := reader.KVv2("secret").Put(ctx, "mine/a", map[string]any{})
	refused(err, 403, "permission denied")
	_, err = reader.Sys().ListMounts()
	refused(err, 403, "permission denied")
	equal(got(reader.Sys().CapabilitiesSelf("secret/data/mine/a")), []string{"read", "list"})
	equal(got(sys.Capabilities(made.Auth.ClientToken, "sys/mounts")), []string{"deny"})
	check(sys.DeletePolicy("reader"))
}

func tokens(root *vault.Client) {
	token := root.Auth().Token()
	made := got(token.Create(&vault.TokenCreateRequest{TTL: "30m", Policies: []string{"default"}, Metadata: map[string]string{"who": "me"}})).Auth
	equal(made.LeaseDuration, 1800)
	own := connect(made.ClientToken)
	found := got(own.Auth().Token().LookupSelf())
	equal(got(found.TokenAccessor()), made.Accessor)
	equal(got(found.TokenMetadata())["who"], "me")
	equal(got(own.Auth().Token().RenewSelf(1200)).Auth.LeaseDuration, 1200)
	equal(got(token.Renew(made.ClientToken, 600)).Auth.LeaseDuration, 600)
	equal(got(token.Lookup(made.ClientToken)).Data["accessor"], made.Accessor)
	equal(got(token.LookupAccessor(made.Accessor)).Data["id"], "")
	got(token.RenewAccessor(made.Accessor, 900))
	equal(slices.Contains(got(root.Logical().List("auth/token/accessors")).Data["keys"].([]any), any(made.Accessor)), true)
	check(token.RevokeAccessor(made.Accessor))
	_, err := own.Auth().Token().LookupSelf()
	refused(err, 403, "permission denied")
	got(root.Logical().Write("auth/token/roles/job", map[string]any{"allowed_policies": "default", "orphan": true}))
	equal(got(root.Logical().Read("auth/token/roles/job")).Data["orphan"], true)
	job := got(token.CreateWithRole(&vault.TokenCreateRequest{}, "job"))
	equal(job.Auth.Orphan, true)
	got(root.Logical().Delete("auth/token/roles/job"))
	orphan := got(token.CreateOrphan(&vault.TokenCreateRequest{Policies: []string{"default"}}))
	check(token.RevokeTree(orphan.Auth.ClientToken))
	check(connect(job.Auth.ClientToken).Auth().Token().RevokeSelf(""))
}

func wrapping(root *vault.Client) {
	wrapper := connect(root.Token())
	wrapper.SetWrappingLookupFunc(func(operation, path string) string { return "60s" })
	wrapped := got(wrapper.Logical().Read("secret/data/mine/a")).WrapInfo
	equal([]any{wrapped.TTL, wrapped.CreationPath}, []any{60, any("secret/data/mine/a")})
	looked := got(root.Logical().Write("sys/wrapping/lookup", map[string]any{"token": wrapped.Token}))
	equal(looked.Data["creation_path"], "secret/data/mine/a")
	again := got(root.Logical().Write("sys/wrapping/rewrap", map[string]any{"token": wrapped.Token})).WrapInfo
	inner := got(root.Logical().Unwrap(again.Token))
	equal(inner.Data["data"].(map[string]any)["v"], "1")
	_, err := root.Logical().Unwrap(again.Token)
	refused(err, 400, "wrapping token is not valid or does not exist")
}

func logins(root *vault.Client) {
	check(root.Sys().EnableAuthWithOptions("approle", &vault.EnableAuthOptions{Type: "approle"}))
	equal(got(root.Sys().ListAuth())["approle/"].Type, "approle")
	equal(strings.HasPrefix(got(root.Sys().ListAuth())["approle/"].Accessor, "auth_approle_"), true)
	write := func(path string, data map[string]any) *vault.Secret { return got(root.Logical().Write(path, data)) }
	write("auth/approle/role/app", map[string]any{"token_policies": "default", "token_ttl": "10m"})
	id := got(root.Logical().Read("auth/approle/role/app/role-id")).Data["role_id"].(string)
	wrapper := connect(root.Token())
	wrapper.SetWrappingLookupFunc(func(operation, path string) string { return "60s" })
	wrapped := got(wrapper.Logical().Write("auth/approle/role/app/secret-id", nil)).WrapInfo
	given := got(root.Logical().Unwrap(wrapped.Token)).Data
	equal(wrapped.WrappedAccessor, given["secret_id_accessor"])
	secret := given["secret_id"].(string)
	method := got(approle.NewAppRoleAuth(id, &approle.SecretID{FromString: secret}))
	app := connect("")
	equal(got(app.Auth().Login(ctx, method)).Auth.Metadata["role_name"], "app")
	equal(got(app.Auth().Token().LookupSelf()).Data["path"], "auth/approle/login")
	check(root.Sys().DisableAuth("approle"))
	_, err := app.Auth().Token().LookupSelf()
	refused(err, 403, "permission denied")

	check(root.Sys().EnableAuthWithOptions("people", &vault.EnableAuthOptions{Type: "userpass"}))
	check(root.Sys().TuneMount("auth/people", vault.MountConfigInput{DefaultLeaseTTL: "15m"}))
	write("auth/people/users/mia", map[string]any{"password": "long enough", "token_policies": []string{"default"}})
	login := func(password string) (*vault.Secret, error) {
		given := got(userpass.NewUserpassAuth("mia", &userpass.Password{FromString: password}, userpass.WithMountPath("people")))
		return connect("").Auth().Login(ctx, given)
	}
	mia := got(login("long enough")).Auth
	equal(mia.LeaseDuration, 900)
	listed := func(path string) []any {
		return got(root.Logical().List("sys/leases/lookup/" + path)).Data["keys"].([]any)
	}
	equal(listed("auth/people"), []any{"login/"})
	equal(listed("auth/people/login"), []any{"mia/"})
	equal(len(listed("auth/people/login/mia")), 1)
	accessors := root.Auth().Token()
	got(accessors.LookupAccessor(mia.Accessor))
	check(root.Sys().RevokePrefix("auth/people"))
	_, err = accessors.LookupAccessor(mia.Accessor)
	refused(err, 400, "invalid accessor")
	_, err = login("wrong")
	refused(err, 400, "invalid username or password")
}

func operations(root *vault.Client, made *vault.InitResponse) {
	sys := root.Sys()
	options := map[string]string{"file_path": os.Getenv("CLIENT_AUDIT")}
	check(sys.EnableAuditWithOptions("file", &vault.EnableAuditOptions{Type: "file", Options: options}))
	equal(got(sys.ListAudit())["file/"].Type, "file")
	equal(strings.HasPrefix(got(sys.AuditHash("file", "x")), "hmac-sha256:"), true)
	check(sys.DisableAudit("file"))
	term := got(sys.KeyStatus()).Term
	check(sys.Rotate())
	equal(got(sys.KeyStatus()).Term, term+1)
	_, err := sys.Renew("nothing/here/x", 60)
	refused(err, 400, "lease not found")
	started := got(sys.GenerateRootInit("", ""))
	equal(started.Started, true)
	check(sys.GenerateRootCancel())
	check(sys.Seal())
	_, err = root.Logical().Read("secret/data/mine/a")
	refused(err, 503, "Vault is sealed")
	for _, key := range made.Keys[:2] {
		got(sys.Unseal(key))
	}
	equal(got(root.Auth().Token().LookupSelf()).Data["policies"], []any{"root"})
}

func main() {
	root, made := start()
	for _, part := range []func(*vault.Client){status, mounts, versions, policies, tokens, wrapping, logins} {
		part(root)
	}
	operations(root, made)
	fmt.Printf("%d calls\n", calls)
}
