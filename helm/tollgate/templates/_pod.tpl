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

{{/* Mounts of the certificates that the stores are known by; with the volumes below. */}}
{{- define "tollgate.mounts.redis" -}}
{{- if .Values.redis.caSecret.name }}
- name: redis-ca
  mountPath: /etc/tollgate/redis-ca
  readOnly: true
{{- end }}
{{- end -}}

{{- define "tollgate.mounts.postgres" -}}
{{- if .Values.postgres.caSecret.name }}
- name: postgres-ca
  mountPath: /etc/tollgate/postgres-ca
  readOnly: true
{{- end }}
{{- end -}}

{{- define "tollgate.volumes.redis" -}}
{{- with .Values.redis.caSecret }}
{{- if .name }}
- name: redis-ca
  secret:
    secretName: {{ .name }}
    items:
      - key: {{ .key }}
        path: ca.crt
{{- end }}
{{- end }}
{{- end -}}

{{- define "tollgate.volumes.postgres" -}}
{{- with .Values.postgres.caSecret }}
{{- if .name }}
- name: postgres-ca
  secret:
    secretName: {{ .name }}
    items:
      - key: {{ .key }}
        path: ca.crt
{{- end }}
{{- end }}
{{- end -}}

{{/* Lives as long as the process answers at all: a store that is away is no reason to restart. */}}
{{- define "tollgate.probes.life" -}}
startupProbe:
  httpGet:
    path: /healthz
    port: tollgate-http
  periodSeconds: 1
  failureThreshold: 60
livenessProbe:
  httpGet:
    path: /healthz
    port: tollgate-http
  periodSeconds: 10
  timeoutSeconds: 3
  failureThreshold: 3
{{- end -}}
