package wsproto

import "fmt"

// A notice is a message from the distributor itself, {"notice":{"type":…},"sign":{…}}, for clients
// that asked for its type by the parameter `notices` of the upgrade URL. It is signed like a
// record, and does not count in positions.
const (
	NoticeMember = "notice"
	// NoticeGap: between the messages before and after it, records of a stream may be missing.
	NoticeGap = "gap"
)

// ParseNotices parses the parameter: "" or "gap".
func ParseNotices(text string) (wanted bool, err error) {
	switch text {
	case "":
		return false, nil
	case NoticeGap:
		return true, nil
	}
	return false, fmt.Errorf("%w: notices=%.60q is not %q", ErrNotices, text, NoticeGap)
}
