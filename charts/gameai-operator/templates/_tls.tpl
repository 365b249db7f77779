{{/* Certificates: how connections to a service are encrypted, and the objects that hold its certificate.

They take a dictionary: `root`; `service`, its name; `setting`, where its values are (`gateway.tls`); `tls`, those values; and for the objects `labels`, `names` and
the `usages` that cert-manager is asked for. */}}

{{/* A Secret that is named goes before everything else. */}}
{{- define "gameai.tls.mode" -}}
{{- if .tls.secretName }}Secret{{ else }}
{{- $mode := .tls.mode | default "SelfSigned" }}
{{- if and (eq $mode "CertManager") (not (.tls.issuerRef | default dict).name) }}{{ fail (printf "%s.issuerRef.name must name an Issuer where %s.mode is CertManager" .setting .setting) }}{{ end }}
{{- $mode }}{{ end }}
{{- end }}

{{/* The Secret with the certificate; none where connections are not encrypted. */}}
{{- define "gameai.tls.secret" -}}
{{- if .tls.secretName }}{{ .tls.secretName }}
{{- else }}
{{- /* One for each mode: Helm would not take over cert-manager's. */}}
{{- $mode := include "gameai.tls.mode" . }}
{{- if eq $mode "SelfSigned" }}{{ printf "%s-tls" .service }}{{ end }}
{{- if eq $mode "CertManager" }}{{ printf "%s-cert" .service }}{{ end }}
{{- end }}
{{- end }}

{{- define "gameai.tls.objects" -}}
{{- $mode := include "gameai.tls.mode" . }}
{{- $namespace := .root.Release.Namespace }}
{{- $names_text := join "," .names }}
{{- if eq $mode "SelfSigned" }}
{{- $secret := include "gameai.tls.secret" . }}
{{- $live := lookup "v1" "Secret" $namespace $secret }}
{{- $data := dict }}
{{- $held := dig "data" dict ($live | default dict) | default dict }}
{{- if and (hasKey $held "ca.crt") (hasKey $held "tls.crt") (hasKey $held "tls.key") }}
{{- $before := dig "metadata" "annotations" "gameai.dev/dns-names" $names_text $live }}
{{- if ne $before $names_text }}{{ fail (printf "the certificate of %s is for %s, and %s.dnsNames wants %s: delete Secret %s in %s for another one, and give callers its authority" .service $before .setting $names_text $secret $namespace) }}{{ end }}
{{- $data = pick $live.data "ca.crt" "tls.crt" "tls.key" }}
{{- else }}
{{- $ca := genCAWithKey (printf "%s-ca" .service) 3650 (genPrivateKey "ecdsa") }}
{{- $made := genSignedCertWithKey (index .names 0) nil .names 3650 $ca (genPrivateKey "ecdsa") }}
{{- $data = dict "ca.crt" (b64enc $ca.Cert) "tls.crt" (b64enc $made.Cert) "tls.key" (b64enc $made.Key) }}
{{- end }}
# Made by Helm, once. The authority's key is kept nowhere.
apiVersion: v1
kind: Secret
type: kubernetes.io/tls
metadata:
  name: {{ $secret | quote }}
  namespace: {{ $namespace | quote }}
  labels: {{- .labels | nindent 4 }}
  annotations:
    gameai.dev/dns-names: {{ $names_text | quote }}
    helm.sh/resource-policy: keep
data: {{- toYaml $data | nindent 2 }}
{{- else if eq $mode "CertManager" }}
apiVersion: cert-manager.io/v1
kind: Certificate
metadata:
  name: {{ .service | quote }}
  namespace: {{ $namespace | quote }}
  labels: {{- .labels | nindent 4 }}
spec:
  secretName: {{ include "gameai.tls.secret" . | quote }}
  commonName: {{ index .names 0 | trunc 64 | quote }}
  dnsNames: {{- toYaml .names | nindent 2 }}
  {{- with .usages }}
  usages: {{- toYaml . | nindent 2 }}
  {{- end }}
  privateKey: {algorithm: ECDSA, size: 256, rotationPolicy: Always}
  issuerRef: {{- toYaml .tls.issuerRef | nindent 4 }}
{{- end }}
{{- end }}
