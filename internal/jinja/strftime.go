package jinja

import (
	"fmt"
	"strings"
	"time"
)

// strftime formats t as C does in the C locale, with glibc's "-" flag that
// drops the padding. The time counts as one without a zone, as Python's
// datetime.now() is.
func strftime(t time.Time, format string) string {
	var b strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' || i+1 == len(format) {
			b.WriteByte(format[i])
			continue
		}
		i++
		plain := format[i] == '-' && i+1 < len(format)
		if plain {
			i++
		}
		s, ok := timeField(t, format[i])
		if !ok {
			b.WriteByte('%')
			if plain {
				b.WriteByte('-')
			}
			b.WriteByte(format[i])
			continue
		}
		if plain && strings.IndexByte("dHIjmMSUWyegVklGY", format[i]) >= 0 {
			if s = strings.TrimLeft(s, "0 "); s == "" {
				s = "0"
			}
		}
		b.WriteString(s)
	}
	return b.String()
}

// timeField returns the text of one conversion and whether there is such.
func timeField(t time.Time, verb byte) (string, bool) {
	// The conversions that Go's layouts know.
	layout := map[byte]string{
		'a': "Mon", 'A': "Monday", 'b': "Jan", 'h': "Jan", 'B': "January",
		'c': "Mon Jan _2 15:04:05 2006", 'd': "02", 'e': "_2", 'D': "01/02/06", 'x': "01/02/06",
		'F': "2006-01-02", 'H': "15", 'I': "03", 'j': "002", 'm': "01", 'M': "04", 'p': "PM", 'P': "pm",
		'r': "03:04:05 PM", 'R': "15:04", 'S': "05", 'T': "15:04:05", 'X': "15:04:05", 'y': "06", 'Y': "2006",
	}[verb]
	if layout != "" {
		return t.Format(layout), true
	}
	isoYear, isoWeek := t.ISOWeek()
	day, weekday := t.YearDay()-1, int(t.Weekday())
	switch verb {
	case '%':
		return "%", true
	case 'n':
		return "\n", true
	case 't':
		return "\t", true
	case 'z', 'Z':
		return "", true
	case 'C':
		return fmt.Sprintf("%02d", t.Year()/100), true
	case 'f':
		return fmt.Sprintf("%06d", t.Nanosecond()/1000), true
	case 'g':
		return fmt.Sprintf("%02d", isoYear%100), true
	case 'G':
		return fmt.Sprint(isoYear), true
	case 'k':
		return fmt.Sprintf("%2d", t.Hour()), true
	case 'l':
		return fmt.Sprintf("%2d", (t.Hour()+11)%12+1), true
	case 's':
		return fmt.Sprint(t.Unix()), true
	case 'u':
		return fmt.Sprint((weekday+6)%7 + 1), true
	case 'w':
		return fmt.Sprint(weekday), true
	case 'U':
		return fmt.Sprintf("%02d", (day+7-weekday)/7), true
	case 'V':
		return fmt.Sprintf("%02d", isoWeek), true
	case 'W':
		return fmt.Sprintf("%02d", (day+7-(weekday+6)%7)/7), true
	}
	return "", false
}
