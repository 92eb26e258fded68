import pytest, pika
@pytest.mark.parametrize("n", range(30))
def test_a(broker_url, broker, n):
    c=pika.BlockingConnection(pika.URLParameters(broker_url)); print(broker_url); c.close()
def test_b(own_broker):
    own_broker.stop(); own_broker.start()
