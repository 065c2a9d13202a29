// Package mlog is as much of monis.app/mlog as the secrets-store driver calls.
package mlog

import (
	"context"

	"k8s.io/klog/v2"
)

// Format of lines; there is one here.
type Format string

const (
	FormatText Format = "text"
	FormatJSON Format = "json"
)

func Setup() func() { return klog.Flush }

func ValidateAndSetKlogLevelAndFormatGlobally(context.Context, klog.Level, Format) error { return nil }

func Error(text string, err error) { klog.ErrorS(err, text) }

func Fatal(err error) { klog.Fatal(err) }
