{{- /* Names are fixed: two releases would be two proxies on a node, which delete each other's virtual servers. */ -}}
{{- define "weir.metadata" -}}
name: {{ .name }}
labels:
  app.kubernetes.io/name: weir
  app.kubernetes.io/instance: {{ .root.Release.Name }}
  app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
  app.kubernetes.io/managed-by: {{ .root.Release.Service }}
  helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- with .labels }}
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "weir.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{- define "weir.apiServer" -}}
{{- $example := "for instance https://control-plane.example:6443" -}}
{{- if regexMatch "^https://kubernetes(\\.default.*)?(:[0-9]+)?$" .Values.apiServer -}}
{{- fail (printf "apiServer: %s is the cluster IP of `kubernetes`, which works only while weir does. Set an address that works without a proxy, %s" .Values.apiServer $example) -}}
{{- end -}}
{{- required (printf "apiServer is not set. It is an address of the API server that works without a proxy, %s" $example) .Values.apiServer -}}
{{- end }}

{{- /* A default would masquerade wrongly, without an error, in clusters with other pod networks. */ -}}
{{- define "weir.checkPodNetworks" -}}
{{- if and (eq (.detectLocalMode | default "ClusterCIDR") "ClusterCIDR") (not (hasKey . "clusterCIDR")) -}}
{{- fail "config.clusterCIDR is not set. Set it to the pod networks (the value of --cluster-cidr of kube-controller-manager), for instance 10.244.0.0/16, or set config.detectLocalMode to NodeCIDR, BridgeInterface or InterfaceNamePrefix" -}}
{{- end -}}
{{- end }}

{{- define "weir.policy" -}}
{{- .Values.policy.existingConfigMap | default "weir-policy" -}}
{{- end }}

{{- /* What the two containers share: they are one program. */ -}}
{{- define "weir.command" -}}
- /usr/local/bin/weir
- run
- --config=/var/lib/kube-proxy/config.conf
- --hostname-override=$(NODE_NAME)
{{- end }}

{{- define "weir.env" -}}
- name: NODE_NAME
  valueFrom:
    fieldRef:
      fieldPath: spec.nodeName
{{- end }}

{{- define "weir.mounts" -}}
- name: config
  mountPath: /var/lib/kube-proxy
  readOnly: true
- name: xtables-lock
  mountPath: /run/xtables.lock
- name: lib-modules
  mountPath: /lib/modules
  readOnly: true
{{- end }}
