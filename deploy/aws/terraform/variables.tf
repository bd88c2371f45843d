variable "name" {
  description = "Name of the role, the policy, the rule and the queue; the dead-letter queue has -dead behind it."
  type        = string
  default     = "weir"
}

variable "trusted_service" {
  description = "What runs weir and takes the role: pods.eks.amazonaws.com, ecs-tasks.amazonaws.com or ec2.amazonaws.com. Ignored with oidc_provider_arn."
  type        = string
  default     = "pods.eks.amazonaws.com"
}

variable "oidc_provider_arn" {
  description = "IRSA: the ARN of the cluster's OIDC provider. Empty: trusted_service takes the role."
  type        = string
  default     = ""
}

variable "service_account" {
  description = "IRSA: namespace and name of weir's service account."
  type        = string
  default     = "weir:weir"
}
