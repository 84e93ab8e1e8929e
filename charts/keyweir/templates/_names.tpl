{{- define "keyweir.name" -}}
{{- if contains "keyweir" .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-keyweir" .Release.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "keyweir.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "keyweir.name" .) }}
{{- end }}

{{- define "keyweir.selector" -}}
app.kubernetes.io/name: keyweir-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "keyweir.labels" -}}
{{ include "keyweir.selector" . }}
app.kubernetes.io/part-of: keyweir
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- /* The reference of an image: dict "root" $ "of" .Values.operator */}}
{{- define "keyweir.image" -}}
{{- $name := .of.repository }}
{{- with .root.Values.image.registry | default .of.registry }}{{ $name = printf "%s/%s" (trimSuffix "/" .) $name }}{{ end }}
{{- if .of.digest }}{{ printf "%s@%s" $name .of.digest }}{{ else }}{{ printf "%s:%s" $name (.of.tag | default .root.Chart.AppVersion) }}{{ end }}
{{- end }}

{{- /* What objects get that don't say, as the operator reads it. */}}
{{- define "keyweir.defaults" -}}
{{- $coordination := dict "type" .Values.coordination.type "memberTTL" .Values.coordination.memberTTL }}
{{- $endpoints := .Values.coordination.etcd.endpoints }}
{{- if and $endpoints .Values.etcd.tryout.enabled }}
{{- fail "two etcds are named: remove coordination.etcd.endpoints, or etcd.tryout.enabled" }}
{{- else if and $endpoints (ne $coordination.type "Etcd") }}
{{- fail "coordination.etcd.endpoints is set, and coordination.type is None: set coordination.type=Etcd, or remove the endpoints" }}
{{- end }}
{{- if .Values.etcd.tryout.enabled }}
{{- $_ := set $coordination "type" "Etcd" }}
{{- $endpoints = list (printf "http://%s-etcd.%s:2379" (include "keyweir.name" .) .Release.Namespace) }}
{{- end }}
{{- if eq $coordination.type "Etcd" }}
{{- if not $endpoints }}
{{- fail "coordination.type is Etcd, and coordination.etcd.endpoints names no server: set coordination.etcd.endpoints={https://etcd.data:2379}" }}
{{- end }}
{{- $etcd := dict "endpoints" $endpoints "prefix" .Values.coordination.etcd.prefix }}
{{- with .Values.coordination.etcd.tls }}{{ $_ := set $etcd "tls" . }}{{ end }}
{{- with .Values.coordination.etcd.auth }}{{ $_ := set $etcd "auth" . }}{{ end }}
{{- $_ := set $coordination "etcd" $etcd }}
{{- end }}
{{- $defaults := dict "coordination" $coordination }}
{{- if .Values.networkPolicy.enabled }}
{{- $namespace := dict "matchLabels" (dict "kubernetes.io/metadata.name" .Release.Namespace) }}
{{- $pods := dict "matchLabels" (include "keyweir.selector" . | fromYaml) }}
{{- $own := dict "namespaceSelector" $namespace "podSelector" $pods }}
{{- $_ := set $defaults "networkPolicy" (dict "from" (prepend .Values.networkPolicy.from $own)) }}
{{- end }}
{{- toYaml $defaults }}
{{- end }}
