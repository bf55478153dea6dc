{{- define "common.statefulset" -}}
apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: {{ include "common.fullname" . }}
  labels:
    {{- include "common.labels" . | nindent 4 }}
spec:
  replicas: {{ .Values.replicas }}
  serviceName: {{ include "common.headless" . }}
  podManagementPolicy: {{ .Values.podManagementPolicy | quote }}
  updateStrategy:
    {{- toYaml .Values.updateStrategy | nindent 4 }}
  persistentVolumeClaimRetentionPolicy:
    {{- toYaml .Values.persistentVolumeClaimRetentionPolicy | nindent 4 }}
  minReadySeconds: {{ .Values.minReadySeconds }}
  revisionHistoryLimit: {{ .Values.revisionHistoryLimit }}
  selector:
    matchLabels:
      {{- include "common.selectorLabels" . | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "common.selectorLabels" . | nindent 8 }}
        {{- with .Values.podLabels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with .Values.podAnnotations }}
      annotations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    spec:
      {{- include "common.podSpec" . | nindent 6 }}
  volumeClaimTemplates:
    - metadata:
        name: www
        labels:
          {{- include "common.selectorLabels" . | nindent 10 }}
      spec:
        accessModes: [ReadWriteOnce]
        {{- with .Values.persistence.storageClassName }}
        storageClassName: {{ . | quote }}
        {{- end }}
        resources:
          requests:
            storage: {{ .Values.persistence.size | quote }}
{{- end }}

{{- define "common.podSpec" -}}
serviceAccountName: {{ include "common.serviceAccountName" . }}
automountServiceAccountToken: false
enableServiceLinks: false
terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
containers:
  - name: {{ .Chart.Name }}
    image: {{ include "common.image" . | quote }}
    imagePullPolicy: {{ .Values.image.pullPolicy }}
    workingDir: /www
    env:
      {{- include "common.env" . | nindent 6 }}
    ports:
      - name: http
        containerPort: 8080
    {{- with .Values.startupProbe }}
    startupProbe:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with .Values.livenessProbe }}
    livenessProbe:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with .Values.readinessProbe }}
    readinessProbe:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    securityContext:
      {{- toYaml .Values.securityContext | nindent 6 }}
    resources:
      {{- toYaml .Values.resources | nindent 6 }}
    volumeMounts:
      - name: www
        mountPath: /www
      - name: settings
        mountPath: /etc/{{ .Chart.Name }}
        readOnly: true
volumes:
  - name: settings
    configMap:
      name: {{ include "common.fullname" . }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if .Values.spreadOverNodes }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: {{ .Values.spreadOverNodes }}
    labelSelector:
      matchLabels:
        {{- include "common.selectorLabels" . | nindent 8 }}
{{- end }}
{{- end }}

{{/* The number of replicas is in a file, not here: scaling must not change the pods' template. */}}
{{- define "common.env" -}}
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: PEERS_DOMAIN
  value: {{ include "common.headless" . }}
- name: REPLICAS_FILE
  value: /etc/{{ .Chart.Name }}/replicas
{{- $defaults := dict "VERSION" (.Values.image.tag | default .Chart.AppVersion)
                      "GRACE_SECONDS" (max 1 (sub (int .Values.terminationGracePeriodSeconds) 2)) }}
{{- range $name, $value := merge (dict) .Values.env $defaults }}
- name: {{ $name }}
  value: {{ $value | toString | quote }}
{{- end }}
{{- end }}
