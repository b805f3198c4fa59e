{{/*
The program's configuration, from values to what the program reads. Each of these takes the chart's
context; what the chart sets itself is put over what the values say, and the schema keeps the two
apart.
*/}}

{{/* The control plane's keys, as JSON. */}}
{{- define "tollgate.config.controlPlane" -}}
{{- $own := dict
    "data_dir" "/var/lib/tollgate"
    "grpc" (dict
      "listen" (printf "%s:50051" .Values.listenHost)
      "unix_socket" "/var/lib/tollgate/tollgate.sock")
    "http" (dict "listen" (printf "%s:9464" .Values.listenHost)) -}}
{{- if include "tollgate.catalog" . -}}
{{- $_ := set $own "catalog" "/etc/tollgate/catalog/catalog.yaml" -}}
{{- end -}}
{{- if .Values.tls.existingSecret.name -}}
{{- if .Values.tls.insecure }}{{ fail "tls: existingSecret.name and insecure exclude each other" }}{{ end -}}
{{- $tls := dict "cert" "/etc/tollgate/tls/tls.crt" "key" "/etc/tollgate/tls/tls.key" -}}
{{- if ne .Values.tls.clientCertificates "none" -}}
{{- $_ := set $tls "client_ca" "/etc/tollgate/tls/ca.crt" -}}
{{- $_ := set $tls "client_cert" .Values.tls.clientCertificates -}}
{{- end -}}
{{- $_ := set $own "tls" $tls -}}
{{- else if .Values.tls.insecure -}}
{{- $_ := set $own.grpc "insecure_listen" (list $own.grpc.listen) -}}
{{- else -}}
{{- fail "tls: set existingSecret.name, or insecure=true where the NetworkPolicy or a mesh keeps strangers out" -}}
{{- end -}}
{{- if .Values.access.existingSecret.name -}}
{{- $_ := set $own "access" (dict "file" "/etc/tollgate/access/access.toml") -}}
{{- end -}}
{{- if .Values.embedded.enabled -}}
{{- $_ := set $own "roles" (list "gateway" "admin" "settler") -}}
{{- else -}}
{{- $_ := set $own "roles" (list "admin" "settler") -}}
{{- $_ := set $own "postgres" (dict "migrate" (ternary "never" "auto" .Values.migration.enabled)) -}}
{{- end -}}
{{- $own = mustMergeOverwrite $own (include "tollgate.config.files" . | fromJson) -}}
{{- $all := mustMergeOverwrite (dict) (deepCopy .Values.config) (deepCopy .Values.controlPlane.config) $own -}}
{{- include "tollgate.config.check" $all -}}
{{- $grace := int64 .Values.controlPlane.terminationGracePeriodSeconds -}}
{{- $drain := dig "drain_timeout_ms" 10000 $all | int64 -}}
{{- $sleep := ternary 0 (int64 .Values.controlPlane.preStopSeconds) .Values.embedded.enabled -}}
{{- if le (mul $grace 1000) (add $drain (mul $sleep 1000)) -}}
{{- fail (printf "controlPlane.terminationGracePeriodSeconds: %d must be more than preStopSeconds, %d, and drain_timeout_ms, %d, together" $grace $sleep $drain) -}}
{{- end -}}
{{- toJson $all -}}
{{- end -}}

{{/* The sidecars' keys, as JSON: loopback and a socket, and nothing of the ledger. */}}
{{- define "tollgate.config.sidecar" -}}
{{- $own := dict
    "grpc" (dict
      "listen" (printf "127.0.0.1:%d" (int .Values.sidecar.grpcPort))
      "unix_socket" (printf "%s/tollgate.sock" .Values.sidecar.socketDir))
    "http" (dict "listen" (printf "%s:%d" .Values.listenHost (int .Values.sidecar.httpPort)))
    "roles" (list "gateway") -}}
{{- $own = mustMergeOverwrite $own (include "tollgate.config.files" . | fromJson) -}}
{{- $all := mustMergeOverwrite (dict) (deepCopy .Values.config) (deepCopy .Values.sidecar.config) $own -}}
{{- include "tollgate.config.check" $all -}}
{{- $kept := omit $all "postgres" "sweep" "renew" "tls" "access" -}}
{{- if .Values.sidecar.access.existingSecret.name -}}
{{- $access := dict "file" "/etc/tollgate/sidecar-access/access.toml" -}}
{{- $_ := set $kept "access" (mustMergeOverwrite (dict) ($all.access | default dict) $access) -}}
{{- end -}}
{{- toJson $kept -}}
{{- end -}}

{{/* Keys that do not fit each other: the program refuses them at its start, which is too late for an
upgrade. Where one is not set its default counts, which a test holds to the program's. */}}
{{- define "tollgate.config.check" -}}
{{- $least := dig "reserve" "ttl_min_ms" 1000 . | int64 -}}
{{- $most := dig "reserve" "ttl_max_ms" 43200000 . | int64 -}}
{{- $ttl := dig "reserve" "default_ttl_ms" 600000 . | int64 -}}
{{- $late := dig "reserve" "late_window_ms" 43200000 . | int64 -}}
{{- $replay := dig "reserve" "replay_window_ms" 86400000 . | int64 -}}
{{- if gt $least $most -}}
{{- fail (printf "config.reserve.ttl_min_ms: %d must be at most ttl_max_ms, %d" $least $most) -}}
{{- end -}}
{{- if or (lt $ttl $least) (gt $ttl $most) -}}
{{- fail (printf "config.reserve.default_ttl_ms: %d must be from ttl_min_ms, %d, to ttl_max_ms, %d" $ttl $least $most) -}}
{{- end -}}
{{- if lt $replay (add $most $late) -}}
{{- fail (printf "config.reserve.replay_window_ms: %d must be at least ttl_max_ms, %d, and late_window_ms, %d, together" $replay $most $late) -}}
{{- end -}}
{{- end -}}

{{/* The keys that name files of Secrets which both kinds of pods mount. */}}
{{- define "tollgate.config.files" -}}
{{- $own := dict -}}
{{- if .Values.redis.caSecret.name -}}
{{- $_ := set $own "redis" (dict "tls_ca" "/etc/tollgate/redis-ca/ca.crt") -}}
{{- end -}}
{{- $telemetry := dict -}}
{{- if .Values.telemetry.headersSecret.name -}}
{{- $_ := set $telemetry "otlp_headers_file" "/etc/tollgate/otlp-headers/headers" -}}
{{- end -}}
{{- if .Values.telemetry.caSecret.name -}}
{{- $_ := set $telemetry "otlp_ca" "/etc/tollgate/otlp-ca/ca.crt" -}}
{{- end -}}
{{- if $telemetry -}}
{{- $_ := set $own "telemetry" $telemetry -}}
{{- end -}}
{{- toJson $own -}}
{{- end -}}

{{/* One value in TOML. Helm reads every number as a double, which would print as 1e+06. */}}
{{- define "tollgate.toml.value" -}}
{{- if kindIs "float64" . -}}
{{- if eq (floor .) . }}{{ int64 . }}{{ else }}{{ . }}{{ end -}}
{{- else -}}
{{- toJson . -}}
{{- end -}}
{{- end -}}

{{/* A JSON document of keys and sections in TOML. */}}
{{- define "tollgate.toml" -}}
{{- $sections := dict -}}
{{- range $key, $value := . }}
{{- if kindIs "map" $value }}
{{- $_ := set $sections $key $value }}
{{- else }}
{{ $key }} = {{ include "tollgate.toml.value" $value }}
{{- end }}
{{- end }}
{{- range $section, $keys := $sections }}

[{{ $section }}]
{{- range $key, $value := $keys }}
{{ $key }} = {{ include "tollgate.toml.value" $value }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The same as variables of a container. */}}
{{- define "tollgate.env" -}}
{{- range $key, $value := . }}
{{- if kindIs "map" $value }}
{{- range $inner, $value := $value }}
- name: {{ printf "TOLLGATE_%s_%s" $key $inner | upper }}
  value: {{ include "tollgate.env.value" $value | quote }}
{{- end }}
{{- else }}
- name: {{ printf "TOLLGATE_%s" $key | upper }}
  value: {{ include "tollgate.env.value" $value | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "tollgate.env.value" -}}
{{- if kindIs "slice" . -}}
{{- range $place, $item := . }}{{ if $place }},{{ end }}{{ include "tollgate.env.value" $item }}{{ end -}}
{{- else if kindIs "string" . -}}
{{- . -}}
{{- else -}}
{{- include "tollgate.toml.value" . -}}
{{- end -}}
{{- end -}}

{{/* Where Redis is. */}}
{{- define "tollgate.env.redis" -}}
- name: TOLLGATE_HOT
{{- with .Values.redis }}
{{- if and .url .existingSecret.name }}
{{- fail "redis: url and existingSecret.name exclude each other" }}
{{- end }}
{{- if .existingSecret.name }}
  valueFrom:
    secretKeyRef:
      name: {{ .existingSecret.name }}
      key: {{ .existingSecret.key }}
{{- else }}
  value: {{ required "redis: set url, or existingSecret.name (or embedded.enabled=true)" .url | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Where the ledger is, and its password. */}}
{{- define "tollgate.env.postgres" -}}
- name: TOLLGATE_LEDGER
{{- with .Values.postgres }}
{{- if and .url .existingSecret.name }}
{{- fail "postgres: url and existingSecret.name exclude each other" }}
{{- end }}
{{- if .existingSecret.name }}
  valueFrom:
    secretKeyRef:
      name: {{ .existingSecret.name }}
      key: {{ .existingSecret.key }}
{{- else }}
  value: {{ required "postgres: set url, or existingSecret.name (or embedded.enabled=true)" .url | quote }}
{{- end }}
{{- if .passwordSecret.name }}
- name: PGPASSWORD
  valueFrom:
    secretKeyRef:
      name: {{ .passwordSecret.name }}
      key: {{ .passwordSecret.key }}
{{- end }}
{{- end }}
{{- end -}}
