package compare

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"math"
	"path/filepath"
	"strings"

	"meft"
)

//go:embed report.html
var page string

// plot is one drawing of the report.
type plot struct {
	Title, Note string
	SVG         template.HTML
}

// Report is a page of its own, without scripts or anything from elsewhere: the
// table and four plots. dir is the folder of the comparison, whose runs' events
// hold the loss curves.
func Report(dir string, t *Table) ([]byte, error) {
	curves, err := lossCurves(dir, t)
	if err != nil {
		return nil, err
	}
	var score, moved, forgotten []mark
	for _, r := range t.Rows {
		if r.Problem != "" {
			continue
		}
		score = append(score, mark{label: r.Entry, x: float64(r.Device) / 1e6, y: 100 * r.Score.Value, spread: 100 * r.Score.StdErr})
		moved = append(moved, mark{label: r.Entry, y: float64(r.Moved) / 1e6})
		if r.General != nil && t.Base.General != nil {
			forgotten = append(forgotten, mark{label: r.Entry, y: *r.General - *t.Base.General})
		}
	}
	plots := []plot{
		{"Score against device memory", "percent of " + scoreName(t) + ", with its standard error, over megabytes on the device", scatter(score)},
		{"Loss", "training loss in nats by step, mean of every fiftieth of a run", lines(curves)},
		{"Moved", "megabytes copied to and from the device a step, by the method and the optimizer's state", bars(moved)},
	}
	if len(forgotten) > 0 {
		plots = append(plots, plot{"Forgotten", "rise of the loss on general text, nats a token", bars(forgotten)})
	}
	tmpl, err := template.New("report").Funcs(template.FuncMap{
		"bytes": func(n int64) string { return meft.Size(n).String() }, "percent": func(x float64) string { return fmt.Sprintf("%.1f %%", 100*x) },
		"number": func(x float64) string { return fmt.Sprintf("%.4g", x) }, "loss": func(x *float64) string {
			if x == nil {
				return ""
			}
			return fmt.Sprintf("%.3f", *x)
		},
	}).Parse(page)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = tmpl.Execute(&b, map[string]any{"Table": t, "Plots": plots, "Score": scoreName(t), "Config": strings.TrimSpace(t.Options["config"])})
	return b.Bytes(), err
}

// scoreName is the metric that counts.
func scoreName(t *Table) string { return t.Base.Score.Name }

// mark is a point or a bar.
type mark struct {
	label        string
	x, y, spread float64
}

// curve is a line of the plot of losses.
type curve struct {
	label string
	x, y  []float64
}

// lossCurves reads the losses of every run.
func lossCurves(dir string, t *Table) ([]curve, error) {
	var out []curve
	for _, r := range t.Rows {
		if r.Problem != "" {
			continue
		}
		w, err := watched(filepath.Join(dir, r.Run))
		if err != nil {
			return nil, err
		}
		c := curve{label: r.Entry}
		width := (len(w.steps) + 49) / 50
		for at := 0; at < len(w.steps); at += width {
			part := w.steps[at:min(at+width, len(w.steps))]
			sum := 0.0
			for _, s := range part {
				sum += s.Loss
			}
			c.x, c.y = append(c.x, float64(part[len(part)-1].Step)), append(c.y, sum/float64(len(part)))
		}
		out = append(out, c)
	}
	return out, nil
}

// The size of a drawing and its margins, in pixels.
const (
	width, height                = 640.0, 320.0
	left, right, top, underneath = 64.0, 120.0, 16.0, 40.0
)

// colours tell lines apart, also for people who see few colours (Okabe and Ito
// 2008).
func colours() []string {
	return []string{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999"}
}

// axis maps values to pixels.
type axis struct{ low, high, from, to float64 }

func (a axis) at(v float64) float64 {
	if a.high == a.low {
		return (a.from + a.to) / 2
	}
	return a.from + (v-a.low)/(a.high-a.low)*(a.to-a.from)
}

// ticks are about five round values.
func (a axis) ticks() []float64 {
	span := a.high - a.low
	if span <= 0 {
		return []float64{a.low}
	}
	step := math.Pow(10, math.Floor(math.Log10(span/4)))
	for _, f := range []float64{1, 2, 5, 10} {
		if span/(step*f) <= 6 {
			step *= f
			break
		}
	}
	var out []float64
	for v := math.Ceil(a.low/step) * step; v <= a.high+step/1e6; v += step {
		out = append(out, v)
	}
	return out
}

// drawing writes SVG.
type drawing struct{ b strings.Builder }

func newDrawing() *drawing {
	d := &drawing{}
	d.add(`<svg viewBox="0 0 %g %g" role="img">`, width, height)
	return d
}

func (d *drawing) add(format string, args ...any) { fmt.Fprintf(&d.b, format, args...) }

func (d *drawing) text(x, y float64, anchor, s string) {
	d.add(`<text x="%.1f" y="%.1f" text-anchor="%s">%s</text>`, x, y, anchor, template.HTMLEscapeString(s))
}

func (d *drawing) done() template.HTML {
	d.add("</svg>")
	return template.HTML(d.b.String())
}

// grid draws the axes with their ticks.
func (d *drawing) grid(x *axis, y axis) {
	for _, v := range y.ticks() {
		d.add(`<line class="grid" x1="%g" x2="%g" y1="%.1f" y2="%.1f"/>`, left, width-right, y.at(v), y.at(v))
		d.text(left-6, y.at(v)+4, "end", fmt.Sprintf("%.4g", v))
	}
	if x == nil {
		return
	}
	for _, v := range x.ticks() {
		d.text(x.at(v), height-underneath+18, "middle", fmt.Sprintf("%.4g", v))
	}
}

// over is the axis of values, with zero where zero means something.
func over(values []float64, zero bool, from, to float64) axis {
	a := axis{math.Inf(1), math.Inf(-1), from, to}
	for _, v := range values {
		a.low, a.high = min(a.low, v), max(a.high, v)
	}
	if len(values) == 0 {
		a.low, a.high = 0, 1
	}
	if zero {
		a.low, a.high = min(a.low, 0), max(a.high, 0)
	}
	if margin := (a.high - a.low) / 20; !zero {
		a.low, a.high = a.low-margin, a.high+margin
	}
	return a
}

func scatter(marks []mark) template.HTML {
	var xs, ys []float64
	for _, m := range marks {
		xs, ys = append(xs, m.x), append(ys, m.y+m.spread)
	}
	x, y := over(xs, false, left, width-right), over(ys, true, height-underneath, top)
	d := newDrawing()
	d.grid(&x, y)
	for i, m := range marks {
		c := colours()[i%len(colours())]
		d.add(`<line stroke="%s" x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f"/>`, c, x.at(m.x), x.at(m.x), y.at(m.y-m.spread), y.at(m.y+m.spread))
		d.add(`<circle fill="%s" cx="%.1f" cy="%.1f" r="4"/>`, c, x.at(m.x), y.at(m.y))
		d.text(x.at(m.x)+8, y.at(m.y)+4, "start", m.label)
	}
	return d.done()
}

func bars(marks []mark) template.HTML {
	var ys []float64
	for _, m := range marks {
		ys = append(ys, m.y)
	}
	y := over(ys, true, height-underneath, top)
	d := newDrawing()
	d.grid(nil, y)
	step := (width - left - right) / float64(max(1, len(marks)))
	for i, m := range marks {
		at, zero := left+step*float64(i), y.at(0)
		d.add(`<rect fill="%s" x="%.1f" y="%.1f" width="%.1f" height="%.1f"/>`, colours()[i%len(colours())], at+step*0.15, min(zero, y.at(m.y)), step*0.7, math.Abs(zero-y.at(m.y)))
		d.text(at+step/2, height-underneath+18, "middle", m.label)
	}
	return d.done()
}

func lines(curves []curve) template.HTML {
	var xs, ys []float64
	for _, c := range curves {
		xs, ys = append(xs, c.x...), append(ys, c.y...)
	}
	x, y := over(xs, true, left, width-right), over(ys, true, height-underneath, top)
	d := newDrawing()
	d.grid(&x, y)
	for i, c := range curves {
		colour := colours()[i%len(colours())]
		d.add(`<polyline fill="none" stroke="%s" points="`, colour)
		for j := range c.x {
			d.add("%.1f,%.1f ", x.at(c.x[j]), y.at(c.y[j]))
		}
		d.add(`"/>`)
		d.add(`<rect fill="%s" x="%g" y="%.1f" width="10" height="10"/>`, colour, width-right+12, top+18*float64(i))
		d.text(width-right+28, top+18*float64(i)+9, "start", c.label)
	}
	return d.done()
}
