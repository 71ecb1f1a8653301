{{- define "web.image" -}}
{{ .Values.registry }}/shop/web:{{ .Values.tag }}
acme.azurecr.io/shop/web:{{ .Chart.AppVersion }}
{{ printf "%s:%s" "acme.azurecr.io/shop/web" .Values.tag }}
{{- end }}
