{{- define "streamhub.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "streamhub.selector" -}}
app.kubernetes.io/name: streamhub
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "streamhub.labels" -}}
{{ include "streamhub.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "streamhub.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (ternary (include "streamhub.name" .) "default" .Values.serviceAccount.create) -}}
{{- end -}}

{{/* The file of --config: what the values say, and what follows from where the pod runs. */}}
{{- define "streamhub.config" -}}
{{- $config := dict "listen" "0.0.0.0:8080" "admin-listen" "0.0.0.0:9090" -}}
{{- if .Values.secret.keys.adminToken -}}
{{- $_ := set $config "admin-token-file" "/etc/streamhub/secret/admin-token" -}}
{{- else -}}
{{- $_ := set $config "insecure-admin" true -}}
{{- end -}}
{{- if .Values.insecureNoAuth -}}
{{- $_ := set $config "insecure-no-auth" true -}}
{{- $name := include "streamhub.name" . -}}
{{- $local := printf "%s.%s" $name .Release.Namespace -}}
{{- $hosts := list $name $local (printf "%s.svc" $local) (printf "%s.svc.cluster.local" $local) -}}
{{- if .Values.ingress.enabled -}}{{- $hosts = append $hosts .Values.ingress.host -}}{{- end -}}
{{- $_ := set $config "host" $hosts -}}
{{- else -}}
{{- $_ := set $config "auth" "jwt" -}}
{{- if .Values.secret.keys.jwtSecret -}}
{{- $_ := set $config "jwt-hmac-secret-file" "/etc/streamhub/secret/jwt-secret" -}}
{{- end -}}
{{- end -}}
{{- if .Values.tlsSecret -}}
{{- $_ := set $config "tls-cert" "/etc/streamhub/tls/tls.crt" -}}
{{- $_ := set $config "tls-key" "/etc/streamhub/tls/tls.key" -}}
{{- end -}}
{{ toYaml (dict "serve" (merge (deepCopy .Values.config) $config)) }}
{{- end -}}
