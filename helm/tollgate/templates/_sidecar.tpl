{{/*
The sidecar, for a gateway's own chart that has this one as a dependency (with
controlPlane.enabled=false where the control plane is another release). In the pod's spec:

  initContainers:
    {{- include "tollgate.sidecar" .Subcharts.tollgate | nindent 8 }}
  volumes:
    {{- include "tollgate.sidecar.volumes" .Subcharts.tollgate | nindent 8 }}

In the gateway's container mount the volume "tollgate" where sidecar.socketDir is, and give the pod
an fsGroup: the socket belongs to the pod's group. In the pod's labels:

    {{- include "tollgate.sidecar.labels" .Subcharts.tollgate | nindent 8 }}

examples/sidecar.yaml is what comes out.
*/}}

{{- define "tollgate.sidecar.labels" -}}
tollgate.io/sidecar: "true"
{{- end -}}

{{- define "tollgate.sidecar" -}}
{{- if .Values.embedded.enabled -}}
{{- fail "embedded.enabled: there are no sidecars; the one pod answers all gateways" -}}
{{- end -}}
- name: tollgate
  image: {{ include "tollgate.image" . }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  # A native sidecar: up before the gateway's container starts, down after it has ended.
  restartPolicy: Always
  args: [serve]
  env:
    {{- include "tollgate.env.redis" . | nindent 4 }}
    {{- include "tollgate.env" (include "tollgate.config.sidecar" . | fromJson) | nindent 4 }}
    {{- with .Values.sidecar.extraEnv }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  ports:
    - name: tollgate-http
      containerPort: {{ .Values.sidecar.httpPort }}
  {{- include "tollgate.probes.life" .Values.sidecar.startupSeconds | nindent 2 }}
  {{- if .Values.sidecar.gatesPod }}
  readinessProbe:
    httpGet:
      path: /readyz
      port: tollgate-http
    periodSeconds: 2
    failureThreshold: 3
  {{- end }}
  resources:
    {{- toYaml .Values.sidecar.resources | nindent 4 }}
  securityContext:
    runAsUser: 65532
    runAsGroup: 65532
    {{- include "tollgate.securityContext.container" . | nindent 4 }}
  volumeMounts:
    - name: tollgate
      mountPath: {{ .Values.sidecar.socketDir }}
    {{- include "tollgate.mounts" . | nindent 4 }}
    {{- include "tollgate.secret.mount" (list "sidecar-access" .Values.sidecar.access.existingSecret) | nindent 4 }}
{{- end -}}

{{- define "tollgate.sidecar.volumes" -}}
- name: tollgate
  emptyDir:
    medium: Memory
    sizeLimit: 1Mi
{{- include "tollgate.volumes" . | nindent 0 }}
{{- include "tollgate.secret.volume" (list "sidecar-access" .Values.sidecar.access.existingSecret "access.toml") | nindent 0 }}
{{- end -}}
