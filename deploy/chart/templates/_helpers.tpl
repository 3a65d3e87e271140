{{- define "tidegauge.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" }}{{ end -}}
{{- end }}

{{- define "tidegauge.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "tidegauge.labels" -}}
{{ include "tidegauge.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "tidegauge.image" -}}
image: {{ printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- end }}

{{- define "tidegauge.environment" -}}
- name: TIDEGAUGE_DATABASE_URL
  valueFrom:
    secretKeyRef: {name: {{ .Values.secret }}, key: database-url}
- name: TIDEGAUGE_STORE_URL
  value: {{ .Values.storeUrl | quote }}
- name: TIDEGAUGE_ROLE
  value: {{ .Values.role | quote }}
- name: TIDEGAUGE_SECRETS_KEY
  value: /etc/tidegauge/secrets.key
{{- range list "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY" }}
- name: {{ . }}
  valueFrom:
    secretKeyRef: {name: {{ $.Values.secret }}, key: {{ . }}, optional: true}
{{- end }}
{{- range $name, $value := .Values.environment }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}

{{- define "tidegauge.pod" -}}
automountServiceAccountToken: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 0
  fsGroup: 0
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "tidegauge.confined" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{- define "tidegauge.mounts" -}}
volumeMounts:
  - {name: home, mountPath: /var/lib/tidegauge}
  - {name: tmp, mountPath: /tmp}
  - {name: key, mountPath: /etc/tidegauge, readOnly: true}
{{- end }}

{{- define "tidegauge.volumes" -}}
- {name: tmp, emptyDir: {}}
- name: key
  secret:
    secretName: {{ .Values.secret }}
    defaultMode: 0440
    items: [{key: secrets.key, path: secrets.key}]
{{- end }}

{{- define "tidegauge.spread" -}}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "tidegauge.selector" .root | nindent 8 }}
        app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "tidegauge.scaling" -}}
{{- $name := printf "%s-%s" (include "tidegauge.name" .root) .component }}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {{ $name }}
  labels: {{- include "tidegauge.labels" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: {{ $name }}}
  minReplicas: {{ .values.replicas }}
  maxReplicas: {{ .values.maxReplicas }}
  metrics:
    - type: Resource
      resource:
        name: cpu
        target: {type: Utilization, averageUtilization: {{ .values.targetCPU }}}
  behavior:
    scaleDown: {stabilizationWindowSeconds: 600}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ $name }}
  labels: {{- include "tidegauge.labels" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
spec:
  maxUnavailable: 1
  selector:
    matchLabels: {{- include "tidegauge.selector" .root | nindent 6 }}
      app.kubernetes.io/component: {{ .component }}
{{- end }}
