output "queue_url" {
  description = "updates.queues in weir.yaml"
  value       = aws_sqs_queue.weir.url
}

output "role_arn" {
  value = aws_iam_role.weir.arn
}

output "policy_arn" {
  value = aws_iam_policy.weir.arn
}
