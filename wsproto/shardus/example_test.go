package shardus_test

import (
	"fmt"

	"distributor/wsproto/shardus"
)

// A record is made canonical and signed, and a collector checks the message.
func Example() {
	hashKey := shardus.HashKey{1, 2, 3}
	public, secret, err := shardus.GenerateKey()
	if err != nil {
		panic(err)
	}
	record, err := shardus.AppendRecord(nil, []byte(`{ "counter": 7, "active": 1e1 }`))
	if err != nil {
		panic(err)
	}
	message := shardus.NewSigner(secret, hashKey).AppendMessage(nil, "cycle", record)

	stream, record, err := shardus.VerifyMessage(message, public, hashKey)
	fmt.Println(stream, string(record), err)

	message[len(`{"cycle":{"active":`)] = '9'
	_, _, err = shardus.VerifyMessage(message, public, hashKey)
	fmt.Println(err != nil)
	// Output:
	// cycle {"active":10,"counter":7} <nil>
	// true
}
