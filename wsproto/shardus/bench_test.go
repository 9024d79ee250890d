package shardus

import (
	"crypto/ed25519"
	"encoding/hex"
	"testing"

	voi "github.com/oasisprotocol/curve25519-voi/primitives/ed25519"
)

// benchMix is the realistic mix that rates are given for: 70 % receipts of 4.6 to 7.1 KB, 28 %
// originalTx of about 1 KB, 2 % cycles of 6 KB and more; mean 4.4 KB.
func benchMix(tb testing.TB) (lines [][]byte, mean int64) {
	tb.Helper()
	kinds := map[string][][]byte{}
	for _, v := range readVectors(tb) {
		size := len(v.line())
		if v.Tier == "realistic" &&
			(v.Stream == "cycle" && size > 6000 || v.Stream == "originalTx" && size > 900 ||
				v.Stream == "receipt" && size < 7200) {
			kinds[v.Stream] = append(kinds[v.Stream], v.line())
		}
	}
	for i := range 100 {
		stream := "receipt"
		switch {
		case i%50 == 10:
			stream = "cycle"
		case i%25 < 7:
			stream = "originalTx"
		}
		line := kinds[stream][i%len(kinds[stream])]
		lines = append(lines, line)
		mean += int64(len(line))
	}
	return lines, mean / int64(len(lines))
}

// perRecord runs f over the mix; one iteration is one record.
func perRecord(b *testing.B, f func(line []byte)) {
	lines, mean := benchMix(b)
	b.SetBytes(mean)
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		f(lines[i%len(lines)])
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

func BenchmarkIsCanonical(b *testing.B) {
	perRecord(b, func(line []byte) {
		if !IsCanonical(line) {
			b.Fatal("not canonical")
		}
	})
}

// BenchmarkEncode measures the cost of a record before it is framed, with the signing of either
// library.
func BenchmarkEncode(b *testing.B) {
	signer, hashKey := testSigner(b)
	secret, err := ParseSecretKey(testSecretKey)
	if err != nil {
		b.Fatal(err)
	}
	record, message := make([]byte, 0, 1<<20), make([]byte, 0, 1<<20)
	b.Run("ours", func(b *testing.B) {
		perRecord(b, func(line []byte) {
			var err error
			if record, err = AppendRecord(record[:0], line); err != nil {
				b.Fatal(err)
			}
			message = signer.AppendMessage(message[:0], "receipt", record)
		})
	})
	b.Run("std", func(b *testing.B) {
		h := newHasher(hashKey)
		perRecord(b, func(line []byte) {
			var err error
			if record, err = AppendRecord(record[:0], line); err != nil {
				b.Fatal(err)
			}
			message = append(append(message[:0], `{"receipt":`...), record...)
			message = append(message, '}')
			h.Reset()
			h.Write(message)
			hash := h.sum()
			message = append(message[:len(message)-1], signer.owner...)
			message = hex.AppendEncode(message, ed25519.Sign(ed25519.PrivateKey(secret.key[:]), hash[:]))
			message = append(hex.AppendEncode(message, hash[:]), signTail...)
		})
	})
}

func BenchmarkAppendCanonical(b *testing.B) {
	dst := make([]byte, 0, 1<<20)
	perRecord(b, func(line []byte) {
		var err error
		if dst, err = AppendCanonical(dst[:0], line); err != nil {
			b.Fatal(err)
		}
	})
}

func BenchmarkHash(b *testing.B) {
	_, hashKey := testSigner(b)
	h := newHasher(hashKey)
	perRecord(b, func(line []byte) {
		h.Reset()
		h.Write(line)
		h.sum()
	})
}

// BenchmarkMembers finds the members of a record that the encoder needs.
func BenchmarkMembers(b *testing.B) {
	perRecord(b, func(line []byte) {
		m := MembersOf(line)
		m.Int("cycle")
		m.Find("executionShardKey")
	})
}

func BenchmarkVerifyMessage(b *testing.B) {
	signer, hashKey := testSigner(b)
	lines, _ := benchMix(b)
	message := signer.AppendMessage(nil, "receipt", lines[1])
	b.SetBytes(int64(len(message)))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := VerifyMessage(message, signer.PublicKey(), hashKey); err != nil {
			b.Fatal(err)
		}
	}
}

// The three ways to sign 32 bytes that were compared. Ours is voi's arithmetic with the seed
// expanded once.
func BenchmarkSign(b *testing.B) {
	secret, err := ParseSecretKey(testSecretKey)
	if err != nil {
		b.Fatal(err)
	}
	var hash [32]byte
	expanded := newExpandedKey(secret)
	for _, way := range []struct {
		name string
		sign func()
	}{
		{"ours", func() { expanded.sign(&hash) }},
		{"voi", func() { voi.Sign(voi.PrivateKey(secret.key[:]), hash[:]) }},
		{"std", func() { ed25519.Sign(ed25519.PrivateKey(secret.key[:]), hash[:]) }},
	} {
		b.Run(way.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				way.sign()
			}
		})
	}
}

func BenchmarkVerify(b *testing.B) {
	signer, _ := testSigner(b)
	var hash [32]byte
	sig := signer.key.sign(&hash)
	public := signer.PublicKey()
	strict := &voi.Options{Verify: &voi.VerifyOptions{CofactorlessVerify: true}}
	for _, way := range []struct {
		name   string
		verify func() bool
	}{
		{"ours", func() bool { return verifyStrict(&public, &hash, &sig) }},
		{"voi", func() bool { return voi.VerifyWithOptions(public[:], hash[:], sig[:], strict) }},
	} {
		b.Run(way.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if !way.verify() {
					b.Fatal("wrong")
				}
			}
		})
	}
}
