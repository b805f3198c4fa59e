{{/* What every pod and container of the chart has in common: no rights that it does not need. */}}

{{- define "tollgate.securityContext.pod" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "tollgate.securityContext.container" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* A file of a Secret as a folder of its own, so that a change reaches a running pod: the volume and
its mount, where the Secret is named. Each takes (list NAME SECRET FILE). */}}

{{- define "tollgate.secret.mount" -}}
{{- if (index . 1).name }}
- name: {{ index . 0 }}
  mountPath: /etc/tollgate/{{ index . 0 }}
  readOnly: true
{{- end }}
{{- end -}}

{{- define "tollgate.secret.volume" -}}
{{- with index . 1 }}
{{- if .name }}
- name: {{ index $ 0 }}
  secret:
    secretName: {{ .name }}
    items:
      - key: {{ .key }}
        path: {{ index $ 2 }}
{{- end }}
{{- end }}
{{- end -}}

{{/* What both kinds of pods mount, and what only those do that reach the ledger. */}}
{{- define "tollgate.mounts" -}}
{{- include "tollgate.secret.mount" (list "redis-ca" .Values.redis.caSecret) }}
{{- include "tollgate.secret.mount" (list "otlp-headers" .Values.telemetry.headersSecret) }}
{{- include "tollgate.secret.mount" (list "otlp-ca" .Values.telemetry.caSecret) }}
{{- end -}}

{{- define "tollgate.volumes" -}}
{{- include "tollgate.secret.volume" (list "redis-ca" .Values.redis.caSecret "ca.crt") }}
{{- include "tollgate.secret.volume" (list "otlp-headers" .Values.telemetry.headersSecret "headers") }}
{{- include "tollgate.secret.volume" (list "otlp-ca" .Values.telemetry.caSecret "ca.crt") }}
{{- end -}}

{{- define "tollgate.mounts.postgres" -}}
{{- include "tollgate.secret.mount" (list "postgres-ca" .Values.postgres.caSecret) }}
{{- end -}}

{{- define "tollgate.volumes.postgres" -}}
{{- include "tollgate.secret.volume" (list "postgres-ca" .Values.postgres.caSecret "ca.crt") }}
{{- end -}}

{{/* Who the control plane is, and who may call it. The folders, so that a change reaches a running pod. */}}
{{- define "tollgate.mounts.security" -}}
{{- if .Values.tls.existingSecret.name }}
- name: tls
  mountPath: /etc/tollgate/tls
  readOnly: true
{{- end }}
{{- if .Values.access.existingSecret.name }}
- name: access
  mountPath: /etc/tollgate/access
  readOnly: true
{{- end }}
{{- end -}}

{{- define "tollgate.volumes.security" -}}
{{- with .Values.tls }}
{{- if .existingSecret.name }}
- name: tls
  secret:
    secretName: {{ .existingSecret.name }}
    items:
      {{- range ternary (list "tls.crt" "tls.key") (list "tls.crt" "tls.key" "ca.crt") (eq .clientCertificates "none") }}
      - key: {{ . }}
        path: {{ . }}
      {{- end }}
{{- end }}
{{- end }}
{{- with .Values.access.existingSecret }}
{{- if .name }}
- name: access
  secret:
    secretName: {{ .name }}
    items:
      - key: {{ .key }}
        path: access.toml
{{- end }}
{{- end }}
{{- end -}}

{{/* Lives as long as the process answers at all: a store that is away is no reason to restart. Takes
for how many seconds a start may not answer. */}}
{{- define "tollgate.probes.life" -}}
startupProbe:
  httpGet:
    path: /healthz
    port: tollgate-http
  periodSeconds: 1
  failureThreshold: {{ . }}
livenessProbe:
  httpGet:
    path: /healthz
    port: tollgate-http
  periodSeconds: 10
  timeoutSeconds: 3
  failureThreshold: 3
{{- end -}}
