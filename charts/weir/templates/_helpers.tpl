{{/* Names, labels, and what several templates derive from weir.yaml. */}}

{{- define "weir.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "weir.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains (include "weir.name" .) .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "weir.name" .) | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "weir.selector" -}}
app.kubernetes.io/name: {{ include "weir.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "weir.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "weir.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "weir.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "weir.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "weir.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ default $.Chart.AppVersion .tag }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "weir.tokenSecret" -}}
{{- default (printf "%s-token" (include "weir.fullname" .)) .Values.token.secretName -}}
{{- end -}}

{{- define "weir.claim" -}}
{{- default (include "weir.fullname" .) .Values.persistence.existingClaim -}}
{{- end -}}

{{/* Whether callers may prove themselves by a certificate, so that the token may be missing. */}}
{{- define "weir.byCertificate" -}}
{{- $tls := default dict .Values.config.listen.tls -}}
{{- if or (and .Values.tls.secretName .Values.tls.clientCA) $tls.clientCA -}}true{{- end -}}
{{- end -}}

{{/* http or https, for the admin address. */}}
{{- define "weir.scheme" -}}
{{- $tls := default dict .Values.config.listen.tls -}}
{{- if or .Values.tls.secretName $tls.cert -}}https{{- else -}}http{{- end -}}
{{- end -}}

{{/* weir.yaml. */}}
{{- define "weir.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- if .Values.tls.secretName -}}
{{- $tls := dict "cert" "/etc/weir-tls/tls.crt" "key" "/etc/weir-tls/tls.key" -}}
{{- if .Values.tls.clientCA }}{{ $_ := set $tls "clientCA" "/etc/weir-tls/ca.crt" }}{{ end -}}
{{- $_ := set $config.listen "tls" $tls -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}

{{/* The ports that others can reach, as {"grpc": "9001", …}: addresses on loopback and sockets have none. */}}
{{- define "weir.ports" -}}
{{- $ports := dict -}}
{{- range $name := list "grpc" "http" "admin" "public" -}}
{{- $address := default "" (get $.Values.config.listen $name) -}}
{{- if regexMatch "^(127\\.|localhost:|\\[::1\\]|unix:)" $address | not -}}
{{- with regexFind "[0-9]+$" $address }}{{ $_ := set $ports $name . }}{{ end -}}
{{- end -}}
{{- end -}}
{{- toJson $ports -}}
{{- end -}}

{{/* What the values may say and weir can't do, each with its reason. */}}
{{- define "weir.refuse" -}}
{{- if and (gt (int .Values.replicas) 1) (eq .Values.config.role "all") -}}
{{- fail (printf "replicas: %d: with role all there is one weir for each seller account. Each keeps a ledger of its own, and AWS takes one record for each license, dimension and hour: of two weirs one would lose its usage to the other. Set replicas to 1; one weir decides some thousand requests a second." (int .Values.replicas)) -}}
{{- end -}}
{{- if not (hasKey (include "weir.ports" . | fromJson) "admin") -}}
{{- fail (printf "config.listen.admin: %q: the node's probes can't reach it. Name an address that is not on loopback, such as \":9003\"." .Values.config.listen.admin) -}}
{{- end -}}
{{- end -}}
