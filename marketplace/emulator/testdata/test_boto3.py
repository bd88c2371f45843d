"""boto3 against the emulator, and the emulator against botocore's service models.

Run by a Go test, which gives the emulator's address in WEIR_EMULATOR. The clock stands at noon.
"""

import copy
import datetime
import json
import os
import re
import unittest
import urllib.error
import urllib.parse
import urllib.request

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.validate import ParamValidator

ENDPOINT = os.environ["WEIR_EMULATOR"]
NOON = datetime.datetime(2026, 11, 15, 12, tzinfo=datetime.timezone.utc)
ELEVEN = NOON - datetime.timedelta(hours=1)
ACCOUNT = "111122223333"
CONSTRAINT_ERRORS = {"ValidationException", "InvalidTagException", "SerializationException", "InvalidParameterException"}


def control(method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(ENDPOINT + "/_control/" + path, data=data, method=method)
    with urllib.request.urlopen(request) as response:
        return json.load(response)


def client(service, cbor=False):
    """A client that sends whatever it is given, retries nothing, and keeps the raw bodies of answers."""
    session = botocore.session.Session()
    loader = session.get_component("data_loader")
    if cbor:
        model = copy.deepcopy(loader.load_service_model(service, "service-2"))
        model["metadata"]["protocols"] = ["smithy-rpc-v2-cbor"]
        original = loader.load_service_model
        loader.load_service_model = lambda name, kind, api_version=None: (
            model if (name, kind) == (service, "service-2") else original(name, kind, api_version)
        )
    made = boto3.Session(botocore_session=session).client(
        service,
        region_name="us-east-1",
        endpoint_url=ENDPOINT,
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key="secret",
        config=Config(retries={"total_max_attempts": 1}, parameter_validation=False),
    )
    made.raw = []
    made.meta.events.register("before-parse.*.*", lambda response_dict, **_: made.raw.append(response_dict))
    return made


def error_code(call, **arguments):
    """The name of the error that a call is answered with, or None."""
    try:
        call(**arguments)
    except ClientError as err:
        return err.response["Error"]["Code"]
    return None


class EmulatorTest(unittest.TestCase):
    def setUp(self):
        control("POST", "reset")
        control("PUT", "clock", {"now": NOON.isoformat()})
        metered = [{"key": key, "types": ["ExternallyMetered"]} for key in ("calls", "x", "x" * 255)]
        entitled = [{"key": key, "types": ["Entitled"]} for key in ("basic", "seats", "share", "tier")]
        control("PUT", "products/acme", {"dimensions": metered + entitled})
        self.license = control("POST", "licenses", {
            "product": "acme", "account": ACCOUNT, "starts": "2026-01-01T00:00:00Z",
            "entitlements": [
                {"dimension": "basic", "value": True}, {"dimension": "seats", "value": 5},
                {"dimension": "share", "value": 0.5}, {"dimension": "tier", "value": "gold"},
            ],
        })

    def record(self, **changes):
        record = {
            "LicenseArn": self.license["licenseArn"], "CustomerAWSAccountId": ACCOUNT, "Dimension": "calls",
            "Timestamp": ELEVEN, "Quantity": 1,
        }
        record.update(changes)
        return {name: value for name, value in record.items() if value is not None}

    def assert_fits(self, service_client, operation, answer):
        """The answer has the types and bounds of the model, and nothing in it is unknown to the model."""
        shape = service_client.meta.service_model.operation_model(operation).output_shape
        parsed = {name: value for name, value in answer.items() if name != "ResponseMetadata"}
        report = ParamValidator().validate(parsed, shape)
        self.assertFalse(report.has_errors(), report.generate_report())
        raw = service_client.raw[-1]
        if "json" in raw["headers"]["Content-Type"]:
            self.assert_known(json.loads(raw["body"]), shape, operation)

    def assert_known(self, value, shape, path):
        if shape.type_name == "structure":
            for name, member in value.items():
                self.assertIn(name, shape.members, path)
                self.assert_known(member, shape.members[name], path + "." + name)
        elif shape.type_name == "list":
            for item in value:
                self.assert_known(item, shape.member, path + "[]")
        elif shape.type_name == "timestamp":
            self.assertIsInstance(value, (int, float), path)


class MeteringTest(EmulatorTest):
    def setUp(self):
        super().setUp()
        self.metering = client("meteringmarketplace")

    def test_first_write_wins_by_value(self):
        send = lambda **changes: self.metering.batch_meter_usage(UsageRecords=[self.record(**changes)])
        first = send(Quantity=17)
        self.assert_fits(self.metering, "BatchMeterUsage", first)
        again = send(Quantity=None, QuantityAsDecimal="17.00")
        self.assertEqual(again["Results"][0]["Status"], "Success")
        self.assertEqual(again["Results"][0]["MeteringRecordId"], first["Results"][0]["MeteringRecordId"])
        self.assertEqual(again["Results"][0]["UsageRecord"]["Timestamp"], ELEVEN)
        other = send(Quantity=18)
        self.assert_fits(self.metering, "BatchMeterUsage", other)
        self.assertEqual(other["Results"][0]["Status"], "DuplicateRecord")
        self.assertEqual([line["quantity"] for line in control("GET", "bill")], [17])

    def test_unprocessed_records(self):
        control("POST", "faults", {"operation": "BatchMeterUsage", "kind": "unprocessed"})
        answer = self.metering.batch_meter_usage(UsageRecords=[self.record()])
        self.assert_fits(self.metering, "BatchMeterUsage", answer)
        self.assertEqual(answer["UnprocessedRecords"][0]["Dimension"], "calls")

    def test_resolve_customer(self):
        token = control("POST", "tokens", {"license": self.license["id"]})["token"]
        answer = self.metering.resolve_customer(RegistrationToken=token)
        self.assert_fits(self.metering, "ResolveCustomer", answer)
        self.assertEqual(answer["LicenseArn"], self.license["licenseArn"])
        self.assertEqual(answer["Metadata"]["AgreementId"], self.license["agreementId"])
        self.assertNotIn("CustomerIdentifier", answer)

    def test_every_modelled_error_arrives_by_its_name(self):
        for service, operation, method, arguments in (
            (self.metering, "BatchMeterUsage", "batch_meter_usage", {"UsageRecords": []}),
            (self.metering, "ResolveCustomer", "resolve_customer", {"RegistrationToken": "x"}),
        ):
            for shape in service.meta.service_model.operation_model(operation).error_shapes:
                control("POST", "faults", {"operation": operation, "kind": "error", "code": shape.name})
                with self.assertRaises(getattr(service.exceptions, shape.name)) as caught:
                    getattr(service, method)(**arguments)
                self.assertTrue(caught.exception.response["Error"]["Message"], shape.name)
                # botocore drops the model's `fault: true`, which only the Internal errors have.
                status = caught.exception.response["ResponseMetadata"]["HTTPStatusCode"]
                self.assertEqual(status, 500 if shape.name.startswith("Internal") else 400, shape.name)

    def send_with(self, path, value):
        """Sends a good record in which the member at path has that value, and answers the error's name."""
        allocation = {"AllocatedUsageQuantity": 1, "Tags": [{"Key": "user", "Value": "john"}]}
        request = {"UsageRecords": [self.record(UsageAllocations=[allocation])]}
        if "AsDecimal" in path[-1]:
            request["UsageRecords"][0].pop("Quantity")
            allocation.pop("AllocatedUsageQuantity")
            request["UsageRecords"][0]["QuantityAsDecimal"] = allocation["AllocatedUsageQuantityAsDecimal"] = "1"
        place = request
        for step in path[:-1]:
            place = place[step]
        if value is None:
            place.pop(path[-1], None)
        else:
            place[path[-1]] = value
        return error_code(self.metering.batch_meter_usage, **request)

    def test_constraints_are_those_of_the_model(self):
        model = self.metering.meta.service_model
        checked = 0
        for owner, path in (
            ("BatchMeterUsageRequest", ()),
            ("UsageRecord", ("UsageRecords", 0)),
            ("UsageAllocation", ("UsageRecords", 0, "UsageAllocations", 0)),
            ("Tag", ("UsageRecords", 0, "UsageAllocations", 0, "Tags", 0)),
        ):
            shape = model.shape_for(owner)
            for name in shape.required_members:
                if name != "UsageRecords":
                    self.assertIn(self.send_with(path + (name,), None), CONSTRAINT_ERRORS, f"{owner} without {name}")
                    checked += 1
            for name, member in shape.members.items():
                for value, good in candidates(member):
                    got = self.send_with(path + (name,), value)
                    shown = f"{owner}.{name} = {value!r:.60} is answered {got}"
                    if good:
                        self.assertNotIn(got, CONSTRAINT_ERRORS, shown)
                    else:
                        self.assertIn(got, CONSTRAINT_ERRORS, shown)
                    checked += 1
        self.assertGreater(checked, 60)

    def test_lists_are_as_long_as_the_model_says(self):
        records = lambda n: error_code(self.metering.batch_meter_usage, UsageRecords=[self.record()] * n)
        self.assertIsNone(records(25))
        self.assertEqual(records(26), "ValidationException")
        allocations = lambda n: self.send_with(("UsageRecords", 0, "UsageAllocations"), [
            {"AllocatedUsageQuantity": 1 if i == 0 else 0, "Tags": [{"Key": "n", "Value": str(i)}]} for i in range(n)])
        self.assertIsNone(allocations(2500))
        self.assertEqual(allocations(2501), "ValidationException")
        self.assertEqual(allocations(0), "ValidationException")
        tags = lambda n: self.send_with(("UsageRecords", 0, "UsageAllocations", 0, "Tags"), [
            {"Key": str(i), "Value": "v"} for i in range(n)])
        self.assertIsNone(tags(5))
        self.assertEqual(tags(6), "InvalidTagException")
        self.assertEqual(tags(0), "InvalidTagException")


def candidates(shape):
    """Values at and beyond the bounds of a shape, each with whether the model takes it."""
    meta = shape.metadata
    if shape.type_name == "integer":
        yield meta["min"], True
        yield meta["max"], True
        yield meta["min"] - 1, False
        yield meta["max"] + 1, False
        yield "1", False
    elif shape.type_name == "string":
        pattern = re.compile(meta.get("pattern", r"[\s\S]*"))
        texts = {"", "1", "0", "17.5", "a b", "x", "é", "-1", "1e5", "a~b", "a;b", "a=b", "a\nb", "acme", "arn:aws:s:::x", "00", "1.0000001"}
        for length in (meta.get("min", 0), meta.get("max")):
            if length is not None:
                texts |= {c * n for c in "x1" for n in (length - 1, length, length + 1) if n >= 0}
        for text in sorted(texts):
            fits = pattern.fullmatch(text) is not None
            yield text, fits and meta.get("min", 0) <= len(text) <= meta.get("max", len(text))
        yield 1, False
    elif shape.type_name == "timestamp":
        yield "2026-11-15T11:00:00Z", True  # botocore makes a number of it


class EntitlementTest(EmulatorTest):
    def check(self, entitlement):
        pages = entitlement.get_paginator("get_entitlements").paginate(
            ProductCode="acme", Filter={"CUSTOMER_AWS_ACCOUNT_ID": [ACCOUNT]}, PaginationConfig={"PageSize": 3})
        held = {}
        for page in pages:
            self.assert_fits(entitlement, "GetEntitlements", page)
            for one in page["Entitlements"]:
                held[one["Dimension"]] = one["Value"]
                self.assertEqual(one["ExpirationDate"].astimezone(datetime.timezone.utc), datetime.datetime(2027, 1, 1, tzinfo=datetime.timezone.utc))
        self.assertEqual(held, {
            "basic": {"BooleanValue": True}, "seats": {"IntegerValue": 5}, "share": {"DoubleValue": 0.5}, "tier": {"StringValue": "gold"}})
        for bad in (
            {"ProductCode": "acme", "MaxResults": 0}, {"ProductCode": "acme", "MaxResults": 26}, {"ProductCode": ""}, {},
            {"ProductCode": "x" * 256}, {"ProductCode": "acme", "NextToken": "a b"}, {"ProductCode": "acme", "Filter": {"COLOUR": ["red"]}},
            {"ProductCode": "acme", "Filter": {"DIMENSION": []}},
            {"ProductCode": "acme", "Filter": {"CUSTOMER_IDENTIFIER": ["a"], "CUSTOMER_AWS_ACCOUNT_ID": ["1"]}},
        ):
            self.assertEqual(error_code(entitlement.get_entitlements, **bad), "InvalidParameterException", bad)
        for shape in entitlement.meta.service_model.operation_model("GetEntitlements").error_shapes:
            control("POST", "faults", {"operation": "GetEntitlements", "kind": "error", "code": shape.name})
            with self.assertRaises(getattr(entitlement.exceptions, shape.name)):
                entitlement.get_entitlements(ProductCode="acme")

    def test_json(self):
        entitlement = client("marketplace-entitlement")
        self.check(entitlement)
        self.assertEqual(entitlement.raw[0]["headers"]["Content-Type"], "application/x-amz-json-1.1")

    def test_cbor(self):
        entitlement = client("marketplace-entitlement", cbor=True)
        self.check(entitlement)
        self.assertEqual(entitlement.raw[0]["headers"]["Smithy-Protocol"], "rpc-v2-cbor")


class AgreementTest(EmulatorTest):
    SELLER = [{"name": "PartyType", "values": ["Proposer"]}, {"name": "AgreementType", "values": ["PurchaseAgreement"]}]

    def check(self, agreements):
        search = lambda **more: agreements.search_agreements(filters=self.SELLER + more.pop("filters", []), **more)
        control("POST", "licenses", {"product": "acme", "account": ACCOUNT, "ends": "2027-01-01T00:00:00Z", "endBehavior": "RENEW"})
        found = []
        for page in agreements.get_paginator("search_agreements").paginate(filters=self.SELLER, PaginationConfig={"PageSize": 1}):
            self.assert_fits(agreements, "SearchAgreements", page)
            found += page["agreementViewSummaries"]
        self.assertEqual([one.get("endTimeBehaviorType") for one in found], ["RENEW", None])
        one = search(filters=[{"name": "LicenseArn", "values": [self.license["licenseArn"]]}])["agreementViewSummaries"][0]
        self.assertEqual(one["agreementId"], self.license["agreementId"])
        self.assertEqual(one["entitlements"], [{"licenseArn": self.license["licenseArn"]}])
        self.assertEqual(one["lastUpdateTime"], NOON)
        described = agreements.describe_agreement(agreementId=one["agreementId"])
        self.assert_fits(agreements, "DescribeAgreement", described)
        self.assert_fits(agreements, "DescribeAgreement", agreements.describe_agreement(agreementId=found[0]["agreementId"]))
        entitled = agreements.get_agreement_entitlements(agreementId=one["agreementId"])
        self.assert_fits(agreements, "GetAgreementEntitlements", entitled)
        self.assertEqual(entitled["agreementEntitlements"][0]["licenseArn"], self.license["licenseArn"])
        self.assert_fits(agreements, "GetAgreementTerms", agreements.get_agreement_terms(agreementId=one["agreementId"]))
        for operation, method, arguments in (
            ("SearchAgreements", agreements.search_agreements, {"filters": self.SELLER}),
            ("DescribeAgreement", agreements.describe_agreement, {"agreementId": one["agreementId"]}),
            ("GetAgreementEntitlements", agreements.get_agreement_entitlements, {"agreementId": one["agreementId"]}),
            ("GetAgreementTerms", agreements.get_agreement_terms, {"agreementId": one["agreementId"]}),
        ):
            for shape in agreements.meta.service_model.operation_model(operation).error_shapes:
                control("POST", "faults", {"operation": operation, "kind": "error", "code": shape.name})
                with self.assertRaises(getattr(agreements.exceptions, shape.name)) as caught:
                    method(**arguments)
                self.assertEqual(
                    caught.exception.response["ResponseMetadata"]["HTTPStatusCode"], shape.metadata["error"]["httpStatusCode"], shape.name)
        with self.assertRaises(agreements.exceptions.ValidationException) as caught:
            agreements.search_agreements(filters=[])
        reasons = agreements.meta.service_model.shape_for("ValidationExceptionReason").enum
        self.assertIn(caught.exception.response["reason"], reasons)
        self.assertTrue(caught.exception.response["fields"][0]["message"])
        self.assertEqual(error_code(agreements.describe_agreement, agreementId="nobody"), "ResourceNotFoundException")

    def test_json(self):
        agreements = client("marketplace-agreement")
        self.check(agreements)
        self.assertEqual(agreements.raw[0]["headers"]["Content-Type"], "application/x-amz-json-1.0")

    def test_cbor(self):
        agreements = client("marketplace-agreement", cbor=True)
        self.check(agreements)
        self.assertEqual(agreements.raw[0]["headers"]["Smithy-Protocol"], "rpc-v2-cbor")

    def test_constraints_are_those_of_the_model(self):
        agreements = client("marketplace-agreement")
        model = agreements.meta.service_model
        checked = 0
        for name, send in (
            ("ResourceId", lambda value: agreements.describe_agreement(agreementId=value)),
            ("MaxResults", lambda value: agreements.search_agreements(filters=self.SELLER, maxResults=value)),
            ("FilterValue", lambda value: agreements.search_agreements(filters=self.SELLER + [{"name": "OfferId", "values": [value]}])),
        ):
            for value, good in candidates(model.shape_for(name)):
                got = error_code(send, value=value)
                shown = f"{name} = {value!r:.60} is answered {got}"
                (self.assertNotIn if good else self.assertIn)(got, CONSTRAINT_ERRORS, shown)
                checked += 1
        for count in (1, 10, 11):
            names = ["Status", "ResourceType", "OfferId", "LicenseArn", "InitialAgreementId", "AcceptorAccountId", "OfferSetId",
                     "ResourceIdentifier", "EndTimeBehaviorType"]
            values = {"Status": "ACTIVE", "ResourceType": "SaaSProduct", "EndTimeBehaviorType": "RENEW"}
            filters = self.SELLER + [{"name": name, "values": [values.get(name, "x")]} for name in names]
            got = error_code(agreements.search_agreements, filters=filters[:max(2, count)])
            self.assertEqual(got, "ValidationException" if count > 10 else None, count)
        self.assertGreater(checked, 30)


class QueueTest(EmulatorTest):
    def setUp(self):
        super().setUp()
        self.sqs = client("sqs")
        self.url = self.sqs.create_queue(QueueName="weir")["QueueUrl"]

    def test_a_message_goes_through(self):
        self.assertEqual(self.url, ENDPOINT + "/294406891311/weir")
        attributes = {"kind": {"DataType": "String", "StringValue": "x"}, "raw": {"DataType": "Binary", "BinaryValue": b"\x00\x01"}}
        sent = self.sqs.send_message(QueueUrl=self.url, MessageBody="hé", MessageAttributes=attributes)
        self.assert_fits(self.sqs, "SendMessage", sent)
        answer = self.sqs.receive_message(
            QueueUrl=self.url, MaxNumberOfMessages=10, WaitTimeSeconds=1, AttributeNames=["All"], MessageAttributeNames=["All"])
        self.assert_fits(self.sqs, "ReceiveMessage", answer)
        message = answer["Messages"][0]
        self.assertEqual(message["Body"], "hé")
        self.assertEqual(message["MD5OfBody"], sent["MD5OfMessageBody"])
        self.assertEqual(message["MD5OfMessageAttributes"], sent["MD5OfMessageAttributes"])
        self.assertEqual(message["MessageAttributes"], attributes)
        self.assertEqual(message["Attributes"]["ApproximateReceiveCount"], "1")
        handle = message["ReceiptHandle"]
        self.sqs.change_message_visibility(QueueUrl=self.url, ReceiptHandle=handle, VisibilityTimeout=60)
        deleted = self.sqs.delete_message_batch(QueueUrl=self.url, Entries=[{"Id": "a", "ReceiptHandle": handle}, {"Id": "b", "ReceiptHandle": "?"}])
        self.assert_fits(self.sqs, "DeleteMessageBatch", deleted)
        self.assertEqual([entry["Id"] for entry in deleted["Successful"]], ["a"])
        self.assertEqual([entry["Code"] for entry in deleted["Failed"]], ["ReceiptHandleIsInvalid"])
        self.assertNotIn("Messages", self.sqs.receive_message(QueueUrl=self.url))

    def test_queues(self):
        self.assert_fits(self.sqs, "GetQueueUrl", self.sqs.get_queue_url(QueueName="weir"))
        self.assert_fits(self.sqs, "ListQueues", self.sqs.list_queues())
        answer = self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=["All"])
        self.assert_fits(self.sqs, "GetQueueAttributes", answer)
        names = set(self.sqs.meta.service_model.shape_for("QueueAttributeName").enum)
        self.assertLessEqual(set(answer["Attributes"]), names)
        with self.assertRaises(self.sqs.exceptions.QueueDoesNotExist) as caught:
            self.sqs.get_queue_url(QueueName="nobody")
        self.assertEqual(caught.exception.response["Error"]["Code"], "AWS.SimpleQueueService.NonExistentQueue")

    def test_events_arrive(self):
        control("PUT", "feeds", {"eventbridge": {"queue": self.url}})
        control("POST", "licenses/" + urllib.parse.quote(self.license["licenseArn"], safe="") + "/cancel")
        messages = self.sqs.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10)["Messages"]
        kinds = [json.loads(message["Body"])["detail-type"] for message in messages]
        self.assertEqual(kinds, ["Purchase Agreement Ended - Proposer", "License Deprovisioned - Manufacturer"])


class TopicTest(EmulatorTest):
    def setUp(self):
        super().setUp()
        self.sns, self.sqs = client("sns"), client("sqs")
        self.url = self.sqs.create_queue(QueueName="inbox")["QueueUrl"]
        self.queue = self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]

    def bodies(self):
        return [message["Body"] for message in self.sqs.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10).get("Messages", [])]

    def test_a_topic_of_the_sellers_own(self):
        topic = self.sns.create_topic(Name="mine")
        self.assert_fits(self.sns, "CreateTopic", topic)
        arn = topic["TopicArn"]
        subscribed = self.sns.subscribe(TopicArn=arn, Protocol="sqs", Endpoint=self.queue, Attributes={"RawMessageDelivery": "true"})
        self.assert_fits(self.sns, "Subscribe", subscribed)
        self.sns.subscribe(TopicArn=arn, Protocol="http", Endpoint="http://127.0.0.1:1/")
        published = self.sns.publish(TopicArn=arn, Message="h\u00e9 <&>")
        self.assert_fits(self.sns, "Publish", published)
        self.assertEqual(self.bodies(), ["h\u00e9 <&>"])
        pages = list(self.sns.get_paginator("list_subscriptions").paginate())
        self.assert_fits(self.sns, "ListSubscriptions", pages[0])
        listed = self.sns.list_subscriptions_by_topic(TopicArn=arn)
        self.assert_fits(self.sns, "ListSubscriptionsByTopic", listed)
        self.assertEqual(
            [(one["SubscriptionArn"], one["Endpoint"]) for one in listed["Subscriptions"]],
            [(subscribed["SubscriptionArn"], self.queue), ("PendingConfirmation", "http://127.0.0.1:1/")])
        self.sns.unsubscribe(SubscriptionArn=subscribed["SubscriptionArn"])
        self.assertEqual(len(self.sns.list_subscriptions()["Subscriptions"]), 1)
        with self.assertRaises(self.sns.exceptions.NotFoundException):
            self.sns.publish(TopicArn=arn + "x", Message="x")
        with self.assertRaises(self.sns.exceptions.InvalidParameterException):
            self.sns.confirm_subscription(TopicArn=arn, Token="forged")

    def test_the_topics_of_a_product(self):
        arn = "arn:aws:sns:us-east-1:287250355862:aws-mp-%s-notification-acme"
        for kind in ("subscription", "entitlement"):
            self.sns.subscribe(TopicArn=arn % kind, Protocol="sqs", Endpoint=self.queue)
        control("POST", "licenses/" + self.license["id"] + "/cancel")
        envelope = json.loads(self.bodies()[0])
        self.assertEqual(envelope["TopicArn"], arn % "subscription")
        self.assertEqual(json.loads(envelope["Message"])["action"], "unsubscribe-pending")
        with self.assertRaises(self.sns.exceptions.AuthorizationErrorException):
            self.sns.publish(TopicArn=arn % "subscription", Message="x")

    def test_every_modelled_error_arrives_by_its_name(self):
        for operation, method, arguments in (
            ("ConfirmSubscription", self.sns.confirm_subscription, {"TopicArn": "x", "Token": "x"}),
            ("Subscribe", self.sns.subscribe, {"TopicArn": "x", "Protocol": "sqs"}),
            ("Unsubscribe", self.sns.unsubscribe, {"SubscriptionArn": "x"}),
        ):
            for shape in self.sns.meta.service_model.operation_model(operation).error_shapes:
                error = shape.metadata["error"]
                control("POST", "faults", {"operation": operation, "kind": "error", "code": error["code"]})
                with self.assertRaises(getattr(self.sns.exceptions, shape.name)) as caught:
                    method(**arguments)
                self.assertEqual(caught.exception.response["ResponseMetadata"]["HTTPStatusCode"], error["httpStatusCode"], shape.name)


class TokenTest(EmulatorTest):
    def test_sts(self):
        sts = client("sts")
        who = sts.get_caller_identity()
        self.assert_fits(sts, "GetCallerIdentity", who)
        self.assertEqual(who["Account"], "294406891311")
        role = sts.assume_role(RoleArn="arn:aws:iam::294406891311:role/weir", RoleSessionName="test")
        self.assert_fits(sts, "AssumeRole", role)
        self.assertIsInstance(role["Credentials"]["Expiration"], datetime.datetime)
        self.assertEqual(error_code(sts.assume_role, RoleArn="no", RoleSessionName="test"), "ValidationError")


if __name__ == "__main__":
    unittest.main()
