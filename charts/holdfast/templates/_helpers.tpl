{{/* Names, labels, images: said once. */}}

{{- define "holdfast.fullname" -}}
{{- if .Values.fullnameOverride -}}{{ .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else -}}{{ printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" }}{{- end -}}
{{- end -}}
{{- end -}}

{{- define "holdfast.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{ include "holdfast.selector" . }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "holdfast.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "holdfast.image" -}}
{{- $root := index . 0 -}}{{- $repository := index . 1 -}}{{- $tag := index . 2 -}}
{{ printf "%s/%s:%s" $root.Values.image.registry $repository ($tag | default $root.Values.image.tag | default $root.Chart.AppVersion) }}
{{- end -}}

{{- define "holdfast.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
- name: {{ . }}
{{- end }}
{{- end }}
{{- end -}}

{{/* What the restricted Pod Security Standard asks of a container, and a read-only root. */}}
{{- define "holdfast.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- define "holdfast.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "holdfast.tlsSecret" -}}
{{ .Values.server.tls.existingSecret | default (printf "%s-tls" (include "holdfast.fullname" .)) }}
{{- end -}}

{{- define "holdfast.sealSecret" -}}
{{ .Values.seal.static.secretName | default (printf "%s-seal" (include "holdfast.fullname" .)) }}
{{- end -}}

{{- define "holdfast.etcdClientSecret" -}}
{{- if .Values.etcd.enabled -}}{{ include "holdfast.fullname" . }}-etcd-client-tls{{- else -}}{{ .Values.externalEtcd.existingSecret }}{{- end -}}
{{- end -}}

{{- define "holdfast.address" -}}
https://{{ include "holdfast.fullname" . }}.{{ .Release.Namespace }}.svc:8200
{{- end -}}

{{/* The token by which our own components log in to the server, and the CA that they trust. */}}
{{- define "holdfast.identityVolumes" -}}
- name: identity
  projected:
    defaultMode: 0440
    sources:
    - serviceAccountToken: {path: token, audience: holdfast, expirationSeconds: 3600}
- name: server-ca
  configMap: {name: {{ include "holdfast.fullname" . }}-ca}
{{- end -}}

{{- define "holdfast.identityMounts" -}}
- {name: identity, mountPath: /var/run/secrets/holdfast.dev, readOnly: true}
- {name: server-ca, mountPath: /etc/holdfast/ca, readOnly: true}
{{- end -}}

{{/* requests.cpu=5m,limits.memory=64Mi: resources of the agent in one variable. */}}
{{- define "holdfast.agentResources" -}}
{{- $all := list -}}
{{- range $kind, $amounts := .Values.agent.resources -}}
{{- range $resource, $amount := $amounts -}}
{{- $all = append $all (printf "%s.%s=%v" $kind $resource $amount) -}}
{{- end -}}
{{- end -}}
{{- join "," $all -}}
{{- end -}}
