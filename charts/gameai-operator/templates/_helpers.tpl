{{/* The name of everything: the release's, or an override; a Service's name begins with a letter. */}}
{{- define "gameai.name" -}}
{{- $name := .Values.fullnameOverride }}
{{- if and (not $name) .Values.nameOverride }}{{ $name = printf "%s-%s" .Release.Name .Values.nameOverride }}{{ end }}
{{- $name = $name | default .Release.Name | replace "." "-" }}
{{- if not (regexMatch "^[a-z]" $name) }}{{ $name = printf "gameai-%s" $name }}{{ end }}
{{- $name | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "gameai.selector" -}}
app.kubernetes.io/name: gameai-operator
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{/* Labels of a pod: nothing that a new chart changes, for that would restart it. */}}
{{- define "gameai.podLabels" -}}
{{- with .Values.commonLabels }}{{ toYaml . }}
{{ end }}{{ include "gameai.selector" . }}
app.kubernetes.io/component: operator
app.kubernetes.io/part-of: gameai
{{- end }}

{{- define "gameai.labels" -}}
{{ include "gameai.podLabels" . }}
{{ include "gameai.chartLabels" . }}
{{- end }}

{{- define "gameai.chartLabels" -}}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "gameai.gateway.selector" -}}
app.kubernetes.io/name: gameai-gateway
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "gameai.gateway.podLabels" -}}
{{- with .Values.commonLabels }}{{ toYaml . }}
{{ end }}{{ include "gameai.gateway.selector" . }}
app.kubernetes.io/component: gateway
app.kubernetes.io/part-of: gameai
{{- end }}

{{- define "gameai.gateway.labels" -}}
{{ include "gameai.gateway.podLabels" . }}
{{ include "gameai.chartLabels" . }}
{{- end }}

{{- define "gameai.scaler.selector" -}}
app.kubernetes.io/name: gameai-scaler
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "gameai.scaler.podLabels" -}}
{{- with .Values.commonLabels }}{{ toYaml . }}
{{ end }}{{ include "gameai.scaler.selector" . }}
app.kubernetes.io/component: scaler
app.kubernetes.io/part-of: gameai
{{- end }}

{{- define "gameai.scaler.labels" -}}
{{ include "gameai.scaler.podLabels" . }}
{{ include "gameai.chartLabels" . }}
{{- end }}

{{- define "gameai.bus.selector" -}}
app.kubernetes.io/name: gameai-bus
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "gameai.bus.podLabels" -}}
{{- with .Values.commonLabels }}{{ toYaml . }}
{{ end }}{{ include "gameai.bus.selector" . }}
app.kubernetes.io/component: bus
app.kubernetes.io/part-of: gameai
{{- end }}

{{- define "gameai.bus.labels" -}}
{{ include "gameai.bus.podLabels" . }}
{{ include "gameai.chartLabels" . }}
{{- end }}

{{- define "gameai.bus.controller.selector" -}}
app.kubernetes.io/name: gameai-bus-controller
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "gameai.bus.controller.podLabels" -}}
{{- with .Values.commonLabels }}{{ toYaml . }}
{{ end }}{{ include "gameai.bus.controller.selector" . }}
app.kubernetes.io/component: bus-controller
app.kubernetes.io/part-of: gameai
{{- end }}

{{- define "gameai.bus.controller.labels" -}}
{{ include "gameai.bus.controller.podLabels" . }}
{{ include "gameai.chartLabels" . }}
{{- end }}

{{/* The configuration of the servers of the bus. Passwords and the issuer's public key come from variables. */}}
{{- define "gameai.bus.configuration" -}}
{{- $managed := .Values.bus.managed }}
{{- $replicas := int $managed.replicas }}
server_name: $POD_NAME
port: 4222
http_port: 8222
max_payload: 512KB
# Of a connection: subscriptions, and bytes that wait for a client that does not read.
max_subscriptions: 256
max_pending: 8MB
ping_interval: 10s
ping_max: 2
lame_duck_grace_period: 5s
lame_duck_duration: 30s
jetstream {
  store_dir: /data
  max_file_store: {{ mul 1024 (int $managed.storageGiB) }}MB
  max_memory_store: 16MB
  # Requests with fields that a server does not know are refused.
  strict: true
  # One server writes each message to the disk before it says so; three have it in three memories.
  sync_interval: {{ ternary "5s" "always" (gt $replicas 1) }}
}
{{- if gt $replicas 1 }}
cluster {
  name: gameai
  port: 6222
  no_advertise: true
  authorization { user: bus, password: $CLUSTER_PASSWORD, timeout: 5 }
  routes: [{{ range $number := until $replicas }}{{ if $number }}, {{ end }}$ROUTE_{{ $number }}{{ end }}]
}
{{- end }}
# Who connects with a token comes into WORLDS, once the bus's controller has said what it may do. The streams are in another account: servers do
# not check reply subjects, and what the streams answer must not come back to them.
accounts {
  AUTH { users: [{user: callout, password: $CALLOUT_PASSWORD}] }
  GAME {
    jetstream: enabled
    users: [{user: streams, password: $STREAMS_PASSWORD}]
    # A request gets one answer. One without an answer is forgotten after the threshold, which is 2 minutes without it.
    exports: [
      {service: "log.>", accounts: [WORLDS], response_threshold: "10s"}
      {service: "amb.>", accounts: [WORLDS], response_threshold: "10s"}
      # Batches and orders of a service's consumer, its answers to them, and its dead letters.
      {service: "$JS.API.CONSUMER.MSG.NEXT.GAME_LOG.*", accounts: [WORLDS], response_threshold: "10s"}
      {service: "$JS.API.CONSUMER.MSG.NEXT.GAME_ORDERS.*", accounts: [WORLDS], response_threshold: "10s"}
      {service: "$JS.ACK.GAME_LOG.*.*.*.*.*.*", accounts: [WORLDS], response_threshold: "2s"}
      {service: "$JS.ACK.GAME_ORDERS.*.*.*.*.*.*", accounts: [WORLDS], response_threshold: "2s"}
      {service: "dlq.own.>", accounts: [WORLDS], response_threshold: "10s"}
      {service: "$JS.API.DIRECT.GET.GAME_DLQ.dlq.own.>", accounts: [WORLDS], response_threshold: "2s"}
      {service: "letters.*.own.>", accounts: [WORLDS], response_threshold: "10s"}
    ]
  }
  WORLDS {
    imports: [
      {service: {account: GAME, subject: "log.>"}}
      {service: {account: GAME, subject: "amb.>"}}
      {service: {account: GAME, subject: "$JS.API.CONSUMER.MSG.NEXT.GAME_LOG.*"}}
      {service: {account: GAME, subject: "$JS.API.CONSUMER.MSG.NEXT.GAME_ORDERS.*"}}
      {service: {account: GAME, subject: "$JS.ACK.GAME_LOG.*.*.*.*.*.*"}}
      {service: {account: GAME, subject: "$JS.ACK.GAME_ORDERS.*.*.*.*.*.*"}}
      {service: {account: GAME, subject: "dlq.own.>"}}
      {service: {account: GAME, subject: "$JS.API.DIRECT.GET.GAME_DLQ.dlq.own.>"}}
      {service: {account: GAME, subject: "letters.*.own.>"}}
    ]
  }
  SYS {}
}
system_account: SYS
authorization {
  timeout: 5
  auth_callout { issuer: $ISSUER, account: AUTH, auth_users: [callout, streams] }
}
{{- end }}

{{/* The PriorityClass of placeholders. */}}
{{- define "gameai.headroomClass" -}}
{{- (.Values.headroom | default dict).priorityClass | default (printf "%s-%s-headroom" (include "gameai.name" .) .Release.Namespace) }}
{{- end }}

{{/* An image with the registry that stands before all of them. */}}
{{- define "gameai.image" -}}
{{- with .root.Values.global.imageRegistry }}{{ . }}/{{ end }}{{ .image }}
{{- end }}

{{/* The operator's image: by digest where one is given, else by tag. */}}
{{- define "gameai.operatorImage" -}}
{{- $image := .Values.image }}
{{- $tag := $image.tag | default (ternary "" .Chart.AppVersion (not (empty $image.digest))) }}
{{- $named := printf "%s%s%s" $image.repository (ternary (printf ":%s" $tag) "" (not (empty $tag))) (ternary (printf "@%s" $image.digest) "" (not (empty $image.digest))) }}
{{- include "gameai.image" (dict "root" . "image" $named) }}
{{- end }}

{{/* User ids of our own pods, unless the cluster chooses them. */}}
{{- define "gameai.userIds" -}}
{{- if eq .Values.podSecurity.userIds "Fixed" }}
runAsUser: 65532
runAsGroup: 65532
{{- end }}
{{- end }}

{{/* How the gateway's connections are encrypted; a Secret that is named goes before everything else. */}}
{{- define "gameai.gateway.tlsMode" -}}
{{- $tls := .Values.gateway.tls }}
{{- if $tls.secretName }}Secret{{ else }}
{{- $mode := $tls.mode | default "SelfSigned" }}
{{- if and (eq $mode "CertManager") (not ($tls.issuerRef | default dict).name) }}{{ fail "gateway.tls.issuerRef.name must name an Issuer where gateway.tls.mode is CertManager" }}{{ end }}
{{- $mode }}{{ end }}
{{- end }}

{{/* The Secret with its certificate; none where connections are not encrypted. */}}
{{- define "gameai.gateway.tlsSecret" -}}
{{- if .Values.gateway.tls.secretName }}{{ .Values.gateway.tls.secretName }}
{{- else }}
{{- /* One for each mode: Helm would not take over cert-manager's. */}}
{{- $mode := include "gameai.gateway.tlsMode" . }}
{{- if eq $mode "SelfSigned" }}{{ printf "%s-gateway-tls" (include "gameai.name" .) }}{{ end }}
{{- if eq $mode "CertManager" }}{{ printf "%s-gateway-cert" (include "gameai.name" .) }}{{ end }}
{{- end }}
{{- end }}
