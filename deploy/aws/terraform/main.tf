# What weir needs in the seller account: a role, and the events of AWS Marketplace in a queue.
# AWS Marketplace sends its events in us-east-1 only, so the provider is there, wherever weir runs and meters.

data "aws_region" "current" {
  lifecycle {
    postcondition {
      condition     = self.id == "us-east-1"
      error_message = "AWS Marketplace sends its events in us-east-1 only: give this module a provider of that region."
    }
  }
}

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

locals {
  oidc_issuer = element(concat(split("oidc-provider/", var.oidc_provider_arn), [""]), 1)
}

# Who may take the role.
data "aws_iam_policy_document" "trust" {
  dynamic "statement" {
    for_each = var.oidc_provider_arn == "" ? [var.trusted_service] : []
    content {
      actions = ["sts:AssumeRole", "sts:TagSession"] # EKS Pod Identity tags its sessions
      principals {
        type        = "Service"
        identifiers = [statement.value]
      }
    }
  }
  dynamic "statement" {
    for_each = var.oidc_provider_arn == "" ? [] : [var.oidc_provider_arn]
    content {
      actions = ["sts:AssumeRoleWithWebIdentity"]
      principals {
        type        = "Federated"
        identifiers = [statement.value]
      }
      condition {
        test     = "StringEquals"
        variable = "${local.oidc_issuer}:sub"
        values   = ["system:serviceaccount:${var.service_account}"]
      }
      condition {
        test     = "StringEquals"
        variable = "${local.oidc_issuer}:aud"
        values   = ["sts.amazonaws.com"]
      }
    }
  }
}

# What weir calls, and nothing else.
data "aws_iam_policy_document" "weir" {
  statement {
    sid = "UsageAndEntitlements"
    actions = [
      "aws-marketplace:BatchMeterUsage",
      "aws-marketplace:GetEntitlements",
      "aws-marketplace:ResolveCustomer",
    ]
    resources = ["*"] # these know no resources
  }
  statement {
    sid       = "AgreementsAsSeller"
    actions   = ["aws-marketplace:SearchAgreements", "aws-marketplace:GetAgreementTerms"]
    resources = ["*"]
    condition {
      test     = "StringEquals"
      variable = "aws-marketplace:PartyType"
      values   = ["Proposer"]
    }
    condition {
      test     = "ForAllValues:StringEquals"
      variable = "aws-marketplace:AgreementType"
      values   = ["PurchaseAgreement"]
    }
  }
  statement {
    sid       = "ListingForDoctor" # `weir doctor` alone reads the listing
    actions   = ["aws-marketplace:DescribeEntity"]
    resources = ["arn:${data.aws_partition.current.partition}:aws-marketplace:us-east-1:${data.aws_caller_identity.current.account_id}:AWSMarketplace/SaaSProduct/*"]
  }
  statement {
    sid = "Queue"
    actions = [
      "sqs:ReceiveMessage",
      "sqs:DeleteMessage",
      "sqs:ChangeMessageVisibility",
      "sqs:GetQueueAttributes", # `weir doctor` alone
    ]
    resources = [aws_sqs_queue.weir.arn]
  }
  statement {
    sid       = "TopicsThatPostToWeir" # listings from before EventBridge, POST /sns
    actions   = ["sns:ConfirmSubscription"]
    resources = ["arn:${data.aws_partition.current.partition}:sns:us-east-1:*:aws-mp-*"]
  }
}

resource "aws_iam_policy" "weir" {
  name        = var.name
  description = "What weir calls, and nothing else"
  policy      = data.aws_iam_policy_document.weir.json
}

resource "aws_iam_role" "weir" {
  name               = var.name
  description        = "weir"
  assume_role_policy = data.aws_iam_policy_document.trust.json
}

resource "aws_iam_role_policy_attachment" "weir" {
  role       = aws_iam_role.weir.name
  policy_arn = aws_iam_policy.weir.arn
}

resource "aws_sqs_queue" "weir" {
  name                       = var.name
  message_retention_seconds  = 1209600 # 14 days, SQS's most
  visibility_timeout_seconds = 60      # weir renews it while it works
  receive_wait_time_seconds  = 20
  sqs_managed_sse_enabled    = true
  # weir itself sets aside what it can't read, and tries the rest again every 30 s at most: 1000 is some 6 hours without AWS.
  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead.arn
    maxReceiveCount     = 1000
  })
}

resource "aws_sqs_queue" "dead" {
  name                      = "${var.name}-dead"
  message_retention_seconds = 1209600
  sqs_managed_sse_enabled   = true
}

# The rule alone may send; its own failures go to the dead-letter queue.
data "aws_iam_policy_document" "queue" {
  for_each = { weir = aws_sqs_queue.weir.arn, dead = aws_sqs_queue.dead.arn }
  statement {
    sid       = "TheRuleAlone"
    actions   = ["sqs:SendMessage"]
    resources = [each.value]
    principals {
      type        = "Service"
      identifiers = ["events.amazonaws.com"]
    }
    condition {
      test     = "ArnEquals"
      variable = "aws:SourceArn"
      values   = [aws_cloudwatch_event_rule.weir.arn]
    }
  }
  statement {
    sid       = "TLSOnly"
    effect    = "Deny"
    actions   = ["sqs:*"]
    resources = [each.value]
    principals {
      type        = "*"
      identifiers = ["*"]
    }
    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
}

resource "aws_sqs_queue_policy" "weir" {
  queue_url = aws_sqs_queue.weir.url
  policy    = data.aws_iam_policy_document.queue["weir"].json
}

resource "aws_sqs_queue_policy" "dead" {
  queue_url = aws_sqs_queue.dead.url
  policy    = data.aws_iam_policy_document.queue["dead"].json
}

resource "aws_cloudwatch_event_rule" "weir" {
  name          = var.name
  description   = "What AWS Marketplace tells its seller about agreements and licenses"
  event_pattern = jsonencode({ source = ["aws.agreement-marketplace"] })
}

resource "aws_cloudwatch_event_target" "weir" {
  rule      = aws_cloudwatch_event_rule.weir.name
  target_id = "weir"
  arn       = aws_sqs_queue.weir.arn
  dead_letter_config {
    arn = aws_sqs_queue.dead.arn
  }
  retry_policy {
    maximum_event_age_in_seconds = 86400
    maximum_retry_attempts       = 185
  }
}
