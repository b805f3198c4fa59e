{{/* Where the control plane's replicas go, and what their data folder is. */}}

{{/* Which nodes take them, and its migration. */}}
{{- define "tollgate.nodes" -}}
{{- with .Values.controlPlane.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.controlPlane.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.controlPlane.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "tollgate.spread" -}}
{{- $kind := .Values.controlPlane.antiAffinity -}}
{{- if ne $kind "off" }}
affinity:
  podAntiAffinity:
    {{- if eq $kind "hard" }}
    requiredDuringSchedulingIgnoredDuringExecution:
      - topologyKey: kubernetes.io/hostname
        labelSelector:
          matchLabels:
            {{- include "tollgate.selector" . | nindent 12 }}
    {{- else }}
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels:
              {{- include "tollgate.selector" . | nindent 14 }}
    {{- end }}
{{- end }}
{{- if .Values.controlPlane.spreadZones }}
topologySpreadConstraints:
  - topologyKey: topology.kubernetes.io/zone
    maxSkew: 1
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "tollgate.selector" . | nindent 8 }}
{{- end }}
{{- end -}}

{{- define "tollgate.data" -}}
{{- with .Values.embedded -}}
{{- if and .enabled .persistence.enabled -}}
persistentVolumeClaim:
  claimName: {{ .persistence.existingClaim | default (printf "%s-data" (include "tollgate.fullname" $)) }}
{{- else -}}
emptyDir: {}
{{- end -}}
{{- end -}}
{{- end -}}
