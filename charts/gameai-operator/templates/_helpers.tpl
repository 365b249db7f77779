{{- define "gameai.name" -}}
{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "gameai.selector" -}}
app.kubernetes.io/name: gameai-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "gameai.labels" -}}
{{ include "gameai.selector" . }}
app.kubernetes.io/component: operator
app.kubernetes.io/part-of: gameai
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "gameai.gateway.selector" -}}
app.kubernetes.io/name: gameai-gateway
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "gameai.gateway.labels" -}}
{{ include "gameai.gateway.selector" . }}
app.kubernetes.io/component: gateway
app.kubernetes.io/part-of: gameai
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{/* An image with the registry that stands before all of them. */}}
{{- define "gameai.image" -}}
{{- with .root.Values.global.imageRegistry }}{{ . }}/{{ end }}{{ .image }}
{{- end }}
