{{/* A volume with a Secret: (list name secretName) */}}
{{- define "testcast.secret" -}}
{{- with index . 1 -}}
- name: {{ index $ 0 }}
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end -}}
{{- end -}}

{{/* Who may see and do what */}}
{{- define "testcast.access" -}}
{{- $access := .Values.access -}}
{{- if $access.secretName }}
- name: TESTCAST_ACCESS_KEYS
  value: /access/keys.json
- name: TESTCAST_ACCESS_SESSION_KEY_FILE
  value: /access/session.key
- name: TESTCAST_ACCESS_ISSUER
  value: {{ $access.issuer | quote }}
- name: TESTCAST_ACCESS_AUDIENCE
  value: {{ $access.audience | quote }}
{{- with $access.anonymous }}
- name: TESTCAST_ACCESS_ANONYMOUS
  value: {{ join "," . | quote }}
{{- end }}
{{- if $access.oidc.issuer }}
- name: TESTCAST_OIDC_ISSUER
  value: {{ $access.oidc.issuer | quote }}
- name: TESTCAST_OIDC_CLIENT_ID
  value: {{ required "access.oidc.clientId is needed with access.oidc.issuer" $access.oidc.clientId | quote }}
- name: TESTCAST_OIDC_SCOPES
  value: {{ $access.oidc.scopes | quote }}
{{- with $access.oidc.name }}
- name: TESTCAST_OIDC_NAME
  value: {{ . | quote }}
{{- end }}
{{- if $access.oidc.secretName }}
- name: TESTCAST_OIDC_CLIENT_SECRET_FILE
  value: /oidc/client-secret
{{- end }}
{{- end }}
{{- end }}
{{- if $access.insecure }}
- name: TESTCAST_INSECURE
  value: "1"
{{- end }}
{{- end -}}

{{/* What the schema cannot say */}}
{{- define "testcast.check" -}}
{{- if not (or .Values.access.secretName .Values.access.insecure) -}}
{{- fail "access.secretName is needed: a Secret with keys.json and session.key (docs/access.md). access.insecure=true lets everybody in" -}}
{{- end -}}
{{- $login := .Values.broker.login -}}
{{- $given := list (ne $login.edge.secretName "") -}}
{{- if .Values.agent.enabled }}{{ $given = append $given (ne $login.agent.secretName "") }}{{ end -}}
{{- if .Values.declare.enabled }}{{ $given = append $given (ne $login.operator.secretName "") }}{{ end -}}
{{- if and (has true $given) (has false $given) -}}
{{- fail "broker.login: a broker with users has one for every role: name a Secret for edge, agent and operator, or for none" -}}
{{- end -}}
{{- if and .Values.access.oidc.issuer (not .Values.edge.publicUrl) -}}
{{- fail "access.oidc needs edge.publicUrl: the provider sends people back to it" -}}
{{- end -}}
{{- end -}}
