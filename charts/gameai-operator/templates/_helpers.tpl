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
{{- $secret := include "gameai.bus.tlsSecret" . }}
{{- if $secret }}
# A client encrypts before anything is said, so that none can be made to go without.
tls { cert_file: "/tls/tls.crt", key_file: "/tls/tls.key", timeout: 5, handshake_first: true }
{{- end }}
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
  {{- if $secret }}
  tls { cert_file: "/tls/tls.crt", key_file: "/tls/tls.key", ca_file: "/tls/ca.crt", timeout: 5 }
  {{- end }}
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
  # Has servers read a renewed certificate.
  SYS { users: [{user: system, password: $SYSTEM_PASSWORD}] }
}
system_account: SYS
authorization {
  timeout: 5
  auth_callout { issuer: $ISSUER, account: AUTH, auth_users: [callout, streams, system] }
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

{{/* The Secret with the gateways' certificate; none where connections are not encrypted. */}}
{{- define "gameai.gateway.tlsSecret" -}}
{{- include "gameai.tls.secret" (dict "service" (printf "%s-gateway" (include "gameai.name" .)) "setting" "gateway.tls" "tls" .Values.gateway.tls) }}
{{- end }}

{{/* The same of the event bus; none where there is no bus. */}}
{{- define "gameai.bus.tlsSecret" -}}
{{- if eq ((.Values.bus | default dict).mode | default "None") "Managed" }}
{{- include "gameai.tls.secret" (dict "service" (printf "%s-bus" (include "gameai.name" .)) "setting" "bus.tls" "tls" (.Values.bus.tls | default dict)) }}
{{- end }}
{{- end }}
