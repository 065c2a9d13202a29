// Renders each row of ../documented.json with consul-template itself and writes what it printed back into the file:
// go run . < ../documented.json > new && mv new ../documented.json
package main

import (
	"encoding/json"
	"os"

	"github.com/hashicorp/consul-template/config"
	"github.com/hashicorp/consul-template/dependency"
	"github.com/hashicorp/consul-template/template"
)

type row struct {
	Doc      string  `json:"doc"`
	Template string  `json:"template"`
	Want     *string `json:"want"`
}

type world struct {
	Secrets      map[string]map[string]any `json:"secrets"`
	Lists        map[string][]string       `json:"lists"`
	Certificates map[string]map[string]any `json:"certificates"`
	Files        map[string]string         `json:"files"`
	Env          map[string]string         `json:"env"`
	Rows         []row                     `json:"rows"`
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func settings() *config.Config {
	settings := config.DefaultConfig()
	settings.Finalize()
	return settings
}

func text(value any) string {
	text, _ := value.(string)
	return text
}

func secret(envelope map[string]any) *dependency.Secret {
	data, _ := envelope["data"].(map[string]any)
	lease, _ := envelope["lease_duration"].(json.Number)
	seconds, _ := lease.Int64()
	renewable, _ := envelope["renewable"].(bool)
	found := &dependency.Secret{LeaseID: text(envelope["lease_id"]), LeaseDuration: int(seconds), Renewable: renewable, Data: data}
	if auth, ok := envelope["auth"].(map[string]any); ok {
		found.Auth = &dependency.SecretAuth{ClientToken: text(auth["client_token"])}
	}
	return found
}

func (w *world) brain() *template.Brain {
	brain := template.NewBrain()
	for path, envelope := range w.Secrets {
		if arguments, ok := envelope["arguments"].(map[string]any); ok {
			query, err := dependency.NewVaultWriteQuery(path, arguments)
			check(err)
			brain.Remember(query, secret(envelope))
			continue
		}
		query, err := dependency.NewVaultReadQuery(path)
		check(err)
		brain.Remember(query, secret(envelope))
	}
	for path, keys := range w.Lists {
		query, err := dependency.NewVaultListQuery(path)
		check(err)
		brain.Remember(query, keys)
	}
	for path, data := range w.Certificates {
		query, err := dependency.NewVaultPKIQuery(path, "", map[string]any{})
		check(err)
		brain.Remember(query, dependency.PemEncoded{Cert: text(data["certificate"]), Key: text(data["private_key"]), CA: text(data["issuing_ca"])})
	}
	for path, content := range w.Files {
		query, err := dependency.NewFileQuery(path)
		check(err)
		brain.Remember(query, content)
	}
	return brain
}

func (w *world) render(text string) *string {
	made, err := template.NewTemplate(&template.NewTemplateInput{Contents: text, Config: &config.TemplateConfig{}})
	if err != nil {
		os.Stderr.WriteString(text + ": " + err.Error() + "\n")
		return nil
	}
	env := []string{}
	for name, value := range w.Env {
		env = append(env, name+"="+value)
	}
	result, err := made.Execute(&template.ExecuteInput{Brain: w.brain(), Env: env, Config: settings()})
	if err != nil {
		os.Stderr.WriteString(text + ": " + err.Error() + "\n")
		return nil
	}
	if result.Missing.Len() > 0 {
		os.Stderr.WriteString(text + ": missing " + result.Missing.String() + "\n")
		return nil
	}
	printed := string(result.Output)
	return &printed
}

func main() {
	decoder := json.NewDecoder(os.Stdin)
	decoder.UseNumber()
	var w world
	check(decoder.Decode(&w))
	for index := range w.Rows {
		w.Rows[index].Want = w.render(w.Rows[index].Template)
	}
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	check(encoder.Encode(w))
}
