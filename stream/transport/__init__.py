"""Kafka behind two small protocols, `Source` and `Publisher`; one contract suite for all that keep them.

======================  ==============================================================
``source``              the protocol `Source`, and what a partition can be in trouble with
``publisher``           the protocol `Publisher`
``security``            one configuration class for each way of connecting
``kafka``               `KafkaSource`, `KafkaPublisher`: librdkafka under both
``embedded``            `EmbeddedBroker`: a small broker inside this process
``admin``               the topics that skyburst needs, with the settings it wants
======================  ==============================================================
"""
