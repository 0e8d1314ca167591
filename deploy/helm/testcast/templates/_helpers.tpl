{{- define "testcast.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What pods are selected by: (list context "edge") */}}
{{- define "testcast.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ default $root.Chart.Name $root.Values.nameOverride }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "testcast.labels" -}}
{{- $root := index . 0 -}}
{{ include "testcast.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: testcast
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* An image: (list context values-of-the-image) */}}
{{- define "testcast.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $image.repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $image.repository (default $root.Chart.AppVersion $image.tag) -}}
{{- end -}}
{{- end -}}

{{/* The settings of a pod that are alike for all parts. No service links: Kubernetes would set TESTCAST_EDGE_PORT and its
     like to addresses of the Service, where testcast has settings of these names. */}}
{{- define "testcast.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.images.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- end -}}

{{- define "testcast.container" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  privileged: false
  capabilities:
    drop: [ALL]
{{- end -}}

{{/* Where pods go: the values of a part */}}
{{- define "testcast.placement" -}}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}

{{/* How a role logs in to the broker: (list context "edge") */}}
{{- define "testcast.login" -}}
{{- $root := index . 0 -}}
{{- $login := index $root.Values.broker.login (index . 1) -}}
- name: TESTCAST_NATS_URL
  value: {{ required "broker.url is needed: the address of NATS, such as tls://nats:4222" $root.Values.broker.url | quote }}
{{- if and $root.Values.broker.jsDomain (not (and $login.secretName $login.apiPrefix)) }}
- name: TESTCAST_NATS_JS_DOMAIN
  value: {{ $root.Values.broker.jsDomain | quote }}
{{- end }}
{{- if $login.secretName }}
{{- with $login.ca }}
- name: TESTCAST_NATS_CA
  value: /keys/{{ . }}
{{- end }}
{{- with $login.nkey }}
- name: TESTCAST_NATS_NKEY
  value: /keys/{{ . }}
{{- end }}
{{- with $login.creds }}
- name: TESTCAST_NATS_CREDS
  value: /keys/{{ . }}
{{- end }}
{{- with $login.inboxPrefix }}
- name: TESTCAST_NATS_INBOX_PREFIX
  value: {{ . | quote }}
{{- end }}
{{- with $login.apiPrefix }}
- name: TESTCAST_NATS_JS_API_PREFIX
  value: {{ . | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Logs, traces and metrics, alike for edges and agents */}}
{{- define "testcast.observed" -}}
- name: TESTCAST_LOG_FORMAT
  value: {{ .Values.logs.format }}
- name: TESTCAST_LOG_LEVEL
  value: {{ .Values.logs.level }}
{{- with .Values.traces.endpoint }}
- name: TESTCAST_OTLP_ENDPOINT
  value: {{ . | quote }}
- name: TESTCAST_OTLP_SAMPLE
  value: {{ $.Values.traces.sample | toString | quote }}
{{- end }}
{{- if .Values.metrics.enabled }}
- name: TESTCAST_METRICS_HOST
  value: "0.0.0.0"
- name: TESTCAST_METRICS_PORT
  value: {{ .Values.metrics.port | int64 | quote }}
{{- end }}
{{- end -}}

{{/* Further variables: a map of names and values. Numbers are written without an exponent. */}}
{{- define "testcast.settings" -}}
{{- range $name, $value := . }}
- name: {{ $name }}
  {{- if kindIs "bool" $value }}
  value: {{ ternary "1" "0" $value | quote }}
  {{- else if and (kindIs "float64" $value) (eq (float64 (int64 $value)) $value) }}
  value: {{ int64 $value | quote }}
  {{- else }}
  value: {{ $value | toString | quote }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* The host of the public URL; empty if there is none */}}
{{- define "testcast.publicHost" -}}
{{- if .Values.edge.publicUrl -}}
{{- (urlParse .Values.edge.publicUrl).host | regexFind "^[^:]+" -}}
{{- end -}}
{{- end -}}
